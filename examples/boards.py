"""Lists the boards and shows a page of each: `python examples/boards.py [GATEWAY]`.

Prints, for example:

    all: sum over all-time
    daily: sum over 2026-11-27, from 2026-11-27T00:00:00Z to 2026-11-28T00:00:00Z
      3 players, from the 2nd on: bo 50, cleo 1
    weekly: sum over 2026-W48, from 2026-11-23T00:00:00Z to 2026-11-30T00:00:00Z
"""

import asyncio
import sys

from scoreboard.client import Board, Client, Period, Place, Row, ScoreboardError


def describe(board: Board, period: Period) -> str:
    """Says what a board counts, and when."""
    if board.period_kind == "none":
        return f"{board.name}: {board.operator} over {period.label}"
    state = "was" if period.closed else "from"
    return f"{board.name}: {board.operator} over {period.label}, {state} {period.starts_at} to {period.ends_at}"


def listed(rows: tuple[Row, ...]) -> str:
    """Puts rows into one line."""
    return ", ".join(f"{row.username} {row.score}" for row in rows) or "nobody"


def told(place: Place) -> str:
    """Says where somebody is."""
    return f"at least place {place.rank}" if place.approximate else f"place {place.rank}"


async def main(gateway: str) -> None:
    """Reads what anybody may read, without a login."""
    async with Client(gateway) as client:
        for board in await client.boards():
            newest = board.periods[0]
            print(describe(board, newest))
            page = await client.top(limit=10, offset=1, board=board.name, period=newest.label)
            old = " (up to a second old)" if page.stale else ""
            print(f"  {page.players} players{old}, from the 2nd on: {listed(page.leaderboard)}")
        try:
            print(told(await client.rank("u_nobody", board="daily", period="current")))
        except ScoreboardError as error:
            print(error.reason)


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["127.0.0.1:8080"])[0]))
