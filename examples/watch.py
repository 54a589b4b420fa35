"""Watches a board, says when it may be old, and ends once it has moved: `python examples/watch.py [GATEWAY]`.

Prints, for example:

    all (all-time), version 4294967301: 0 points, not on the board
    all (all-time), version 4294967302: 1 points, place 3
"""

import asyncio
import sys
from contextlib import aclosing

from scoreboard.client import Client, Me, ScoreboardError, Snapshot


def say(error: ScoreboardError | None) -> None:
    """Says how the watch is: broken, or live again."""
    print("live again" if error is None else f"the board may be old: {error}")


def show(board: Snapshot, me: Me) -> None:
    """Prints one's own place; a program would draw `board.leaderboard`."""
    period = f"{board.period}, over" if board.closed else board.period
    place = f"place {me.rank}" if me.rank else "not on the board"
    print(f"{board.board} ({period}), version {board.version}: {me.score} points, {place}")


async def main(gateway: str) -> None:
    """Watches until the own score is there. A screen in a hall would never leave the loop."""
    async with Client(gateway) as client:
        await client.guest()
        async with aclosing(client.watch(limit=10, board="all", me=True, on_state=say)) as boards:
            async for board in boards:
                if board.me is None:
                    continue
                show(board, board.me)
                if board.me.score:
                    break
                await client.score("collect-coin")


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["127.0.0.1:8080"])[0]))
