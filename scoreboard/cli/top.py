"""`scoreboard top` and `boards`: the top of a board, and which boards there are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scoreboard.cli.live_board import print_board
from scoreboard.cli.options import AsJson
from scoreboard.cli.plain import print_json
from scoreboard.cli.player import Board, Gateway, Period, connected, own_id

Limit = Annotated[int, typer.Option(min=1, max=100, envvar="SCOREBOARD_LIMIT", help="How many rows.")]


def top(
    limit: Limit = 10,
    offset: Annotated[
        int, typer.Option(min=0, max=10_000, envvar="SCOREBOARD_OFFSET", help="How many rows to leave out before them.")
    ] = 0,
    board: Board = "all",
    period: Period = "",
    gateway: Gateway = "",
    as_json: AsJson = False,
) -> None:
    """Show the top of a board."""
    with connected(gateway) as client:
        snapshot, me = client.top(limit, offset=offset, board=board, period=period), own_id(client)
    if as_json:
        print_json(snapshot)
        return
    old = " · up to a second old" if snapshot.stale else ""
    print_board(snapshot, f"{snapshot.players} players{old}", me)


def boards(gateway: Gateway = "", as_json: AsJson = False) -> None:
    """List the boards with their periods."""
    with connected(gateway) as client:
        found = client.boards()
    if as_json:
        print_json({"boards": [asdict(board) for board in found]})
        return
    table = Table("board", "counts", "period", "from", "to")
    for board in found:
        for period in board.periods:
            table.add_row(board.name, board.operator, period.label, period.starts_at, period.ends_at)
    Console().print(table)
