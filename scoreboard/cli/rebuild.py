"""`scoreboard rebuild`: builds a board in Redis anew from Postgres, while it is served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scoreboard.cli.operator import open_admin
from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.plain import print_json
from scoreboard.local.trouble import Trouble
from scoreboard.v1 import admin_pb2

QUIET_S = 120.0  # without news nobody works on it; counting a large board's entries takes up to a minute


def rebuild(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="The board's name.")],
    period: Annotated[
        str,
        typer.Option(envvar="SCOREBOARD_PERIOD", help="The period's label, such as 2026-11-24; else the present one."),
    ] = "",
    reason: Annotated[str, typer.Option(envvar="SCOREBOARD_REASON", help="Why, for the admin log.")] = "",
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Build a board in Redis anew from Postgres; readers go on seeing the old one until it is done.

    A worker does it. After Ctrl-C it goes on, unseen.
    """
    request = admin_pb2.RebuildBoardRequest(board=board, period=period, reason=reason)
    last = asyncio.run(_follow(data, request, Console(stderr=True, quiet=as_json)))
    if as_json:
        print_json({"board": board, "period": period, "entries": int(last.done)})
    else:
        print(f"The board {board} is built anew: {last.done:.0f} entries.")


async def _follow(data: Path, request: admin_pb2.RebuildBoardRequest, console: Console) -> admin_pb2.RebuildProgress:
    columns = (TextColumn("Entries"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    last = admin_pb2.RebuildProgress()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        async with open_admin(data) as (stub, metadata):
            call = stub.RebuildBoard(request, metadata=metadata)
            while (news := await _next(call)) is not None:
                last = news
                bar.update(task, total=int(last.total), completed=int(last.done))
    if not last.finished:
        raise Trouble("The rebuild was asked for, and its end was not told.", "See: scoreboard doctor (rebuilds).")
    return last


async def _next(
    call: grpc.aio.UnaryStreamCall[admin_pb2.RebuildBoardRequest, admin_pb2.RebuildProgress],
) -> admin_pb2.RebuildProgress | None:
    """Returns the next news; None: there is none any more, or none for so long that no worker can be at it."""
    try:
        async with asyncio.timeout(QUIET_S):
            news = await call.read()
    except TimeoutError:
        return None
    return news if isinstance(news, admin_pb2.RebuildProgress) else None
