"""`scoreboard rank`: a player's place, with the neighbours if wanted."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from scoreboard.cli.live_board import plain, print_board
from scoreboard.cli.options import AsJson
from scoreboard.cli.plain import print_json
from scoreboard.cli.player import Board, Gateway, Period, connected


def rank(
    user: Annotated[str, typer.Argument(metavar="[USER]", help="The player's user id; without one it is yours.")] = "",
    around: Annotated[
        int, typer.Option(min=0, max=50, envvar="SCOREBOARD_AROUND", help="Rows on each side to show, too.")
    ] = 0,
    board: Board = "all",
    period: Period = "",
    gateway: Gateway = "",
    as_json: AsJson = False,
) -> None:
    """Tell a player's place on a board."""
    with connected(gateway) as client:
        place = client.rank(user, board=board, period=period)
        near = client.around(place.user_id, around, board=board, period=period) if around else None
    if as_json:
        more = {"around": [asdict(row) for row in near.leaderboard]} if near else {}
        print_json(place, **more)
        return
    about = "about " if place.approximate else ""
    print(
        f"{plain(place.username)}: place {about}{place.rank:,} of {place.players:,}, {place.score:,} points"
        f" · {place.board} · {place.period}"
    )
    if near:
        print_board(near, me=place.user_id)
