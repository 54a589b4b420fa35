"""Counts each action once though the network may fail, or this program: `python examples/lose_no_score.py [GATEWAY]`.

Prints, for example:

    win-round: APPLIED
    daily-bonus: APPLIED
    daily-bonus: CAP_REACHED (RESOURCE_EXHAUSTED), again in 20512 s
    fly: no, UNKNOWN_ACTION: The provided userId or actionId is not valid.
    collect-coin with an issued nonce: APPLIED
"""

import asyncio
import sys

from scoreboard.client import Client, ScoreboardError, Status, Update

TO_DO = ["win-round", "daily-bonus", "daily-bonus", "fly"]


async def count(client: Client, action: str, nonce: str) -> Update:
    """Scores until it is known what became of the action. Raises ScoreboardError for a refusal."""
    while True:
        try:
            update = await client.score(action, nonce=nonce, deadline_s=5)
            break
        except ScoreboardError as error:
            if not error.is_unknown:
                raise
            # The same nonce settles it. A phone that is offline would keep the pair and try again when it is back.
            nonce = error.nonce
            await asyncio.sleep(error.retry_after_s or 1)
    while update.status is Status.PENDING:  # accepted and durable; it counts once the workers come to it
        await asyncio.sleep(1)
        update = await client.get_update(update.update_id)
    if update.status is Status.REFUSED or update.status is Status.PARKED:
        print(f"{action}: {update.reason}")
    return update


async def main(gateway: str) -> None:
    """Does what is to do; each nonce is kept with its action before anything is sent."""
    async with Client(gateway, deadline_s=10) as client:
        await client.guest()
        for action, nonce in [(action, client.nonce()) for action in TO_DO]:
            try:
                update = await count(client, action, nonce)
                print(f"{action}: {update.status}")
            except ScoreboardError as error:
                if error.retry_after_s is None:
                    print(f"{action}: no, {error.reason}: {error.message}")
                else:
                    about = error.metadata["action_id"]
                    print(f"{about}: {error.reason} ({error.code.name}), again in {error.retry_after_s:.0f} s")

        # Where the clock is not to be trusted, the server makes the nonces, each good for 5 minutes.
        (nonce,) = await client.issue_nonces("collect-coin")
        update = await count(client, "collect-coin", nonce)
        print(f"collect-coin with an issued nonce: {update.status}")


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["127.0.0.1:8080"])[0]))
