"""Signs up, scores, and looks at the board: `python examples/play.py [GATEWAY]`.

Prints, for example:

    win-round brought 50 points: ada-c3f1 has 50
    1 ada-c3f1 50
    place 1 of 1 on all (all-time)
"""

import asyncio
import secrets
import sys

from scoreboard.client import Client, Status


async def main(gateway: str) -> None:
    """Plays one round."""
    async with Client(gateway) as client:
        name = f"ada-{secrets.token_hex(2)}"
        await client.register(name, "correct horse battery staple")
        update = await client.score("win-round")
        if update.status is Status.APPLIED:  # else it is PENDING: accepted, and not yet counted
            print(f"win-round brought {update.points} points: {update.username} has {update.new_score}")

        board = await client.top(3)
        for row in board.leaderboard:
            print(row.rank, row.username, row.score)
        place = await client.rank()
        print(f"place {place.rank} of {place.players} on {place.board} ({place.period})")


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["127.0.0.1:8080"])[0]))
