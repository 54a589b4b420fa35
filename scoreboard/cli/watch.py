"""`scoreboard watch`: a board in the terminal that moves as players score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from scoreboard.cli.live_board import LiveBoard
from scoreboard.cli.options import AsJson
from scoreboard.cli.plain import to_json
from scoreboard.cli.player import Board, Gateway, connected, own_id
from scoreboard.cli.top import Limit
from scoreboard.client import ScoreboardError, Snapshot

REFRESHES_PER_SECOND = 8  # what is lit goes out in time, at little cost


class Picture:
    """The live table. `take` and `tell` are called by the watcher alone, `render` by the screen's thread."""

    def __init__(self, me: str) -> None:
        self._board = LiveBoard()
        self._me = me
        self._state = "connecting"

    def tell(self, error: ScoreboardError | None) -> None:
        """Shows whether the board is live."""
        self._state = "live" if error is None else f"may be old, connecting again ({error.reason or error.code.name})"

    def take(self, snapshot: Snapshot) -> None:
        """Shows this board from now on."""
        self._board.take(snapshot)
        self._state = "live"

    def render(self, lines: int | None = None) -> Table:
        """Draws it as it is now. lines: what the screen has; a longer board would push the caption out of it."""
        shown = self._board.snapshot
        place = f" · you: place {shown.me.rank:,}, {shown.me.score:,} points" if shown.me and shown.me.rank else ""
        title = f"{shown.board} · {shown.period}" if shown.board else ""
        return self._board.render(title, f"{self._state}{place} · Ctrl-C ends", self._me, lines)


def watch(
    limit: Limit = 10,
    board: Board = "all",
    me: Annotated[bool, typer.Option("--me", envvar="SCOREBOARD_ME", help="With your own place.")] = False,
    count: Annotated[
        int, typer.Option(min=0, envvar="SCOREBOARD_COUNT", help="End after so many boards; 0: with Ctrl-C.")
    ] = 0,
    gateway: Gateway = "",
    as_json: AsJson = False,
) -> None:
    """Watch a board move; with --json, a line of JSON for each change."""
    console = Console()
    with connected(gateway) as client, suppress(KeyboardInterrupt):
        picture = Picture(own_id(client))
        on_state = picture.tell if console.is_terminal and not as_json else _note
        with closing(client.watch(limit, board=board, me=me, on_state=on_state)) as boards:
            shown = islice(boards, count or None)
            if as_json:
                for snapshot in shown:
                    print(to_json(snapshot), flush=True)
            else:
                _show(shown, picture, console)


def _note(error: ScoreboardError | None) -> None:
    typer.echo("The board is live again." if error is None else f"The board may be old: {error}", err=True)


def _show(boards: Iterator[Snapshot], picture: Picture, console: Console) -> None:
    if not console.is_terminal:  # a pipe or a file gets each board below the other
        for snapshot in boards:
            picture.take(snapshot)
            console.print(picture.render())
        return

    def draw() -> Table:
        return picture.render(console.height)

    with Live(get_renderable=draw, console=console, refresh_per_second=REFRESHES_PER_SECOND):
        for snapshot in boards:
            picture.take(snapshot)
