"""`scoreboard demo`: plays against a running mesh and shows the board as it moves."""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from scoreboard.client import Client, ScoreboardError
from scoreboard.demo import SIGN_UPS_AT_ONCE, Roster, Tally, play, sign_in
from scoreboard.local import state
from scoreboard.v1 import stream_pb2


def demo(
    players: Annotated[int, typer.Option(min=1, max=10_000, help="How many players sign up and play.")] = 20,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How long they play.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and no live table.")] = False,
    data: Annotated[Path, typer.Option(envvar="SCOREBOARD_DATA", help="The data folder of the running mesh.")] = Path(
        ".scoreboard"
    ),
) -> None:
    """Let players sign up and play through the gateway like real clients; exit 1 when anything failed.

    A refusal by a limit is waited out and counted as refused, not failed. The players are kept in the data folder.
    """
    target = state.gateway_target(data)
    tally, roster = Tally(), Roster(data / "demo-players.json")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(_run(target, roster, tally, players, float(seconds), quiet=as_json))
        except ScoreboardError as e:
            print(f"The demo could not sign its players in: {e}", file=sys.stderr)
            raise typer.Exit(1) from None
    summary = tally.summary()
    if as_json:
        print(json.dumps(summary))
    else:
        print("  ".join(f"{name} {value:g}" for name, value in summary.items()))
        if tally.reasons:
            print("refusals: " + ", ".join(f"{reason} {count}" for reason, count in tally.reasons.most_common()))
    raise typer.Exit(1 if summary["failed"] else 0)


async def _run(target: str, roster: Roster, tally: Tally, count: int, seconds: float, *, quiet: bool) -> None:
    console = Console(stderr=True, quiet=quiet)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(target)) for _ in range(count)]
        await _sign_all_in(clients, roster, tally, console)
        screen = stack.enter_context(Live(console=console, refresh_per_second=10)) if not quiet else None
        watching = asyncio.create_task(_show(clients[0], screen, tally, seconds), name="demo board") if screen else None
        try:
            until = time.monotonic() + seconds
            async with asyncio.TaskGroup() as games:
                for number, client in enumerate(clients):
                    games.create_task(play(client, tally, until), name=f"demo player {number}")
        finally:
            if watching:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


async def _sign_all_in(clients: list[Client], roster: Roster, tally: Tally, console: Console) -> None:
    bar = Progress(
        TextColumn("Players signed in"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    task = bar.add_task("", total=len(clients))
    waiting = list(itertools.zip_longest(clients, roster.players[: len(clients)]))

    async def sign_in_next() -> None:
        while waiting:
            client, player = waiting.pop()
            await sign_in(client, roster, player, tally)
            bar.advance(task)

    with bar:
        await asyncio.gather(*(sign_in_next() for _ in range(SIGN_UPS_AT_ONCE)))
    roster.save()


async def _show(client: Client, screen: Live, tally: Tally, seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    async for frame in client.watch(limit=10):
        screen.update(_picture(frame, tally, max(0.0, ends_at - time.monotonic())))


def _picture(frame: stream_pb2.LeaderboardUpdate, tally: Tally, left_s: float) -> Group:
    table = Table(title=f"{frame.board} · {frame.period} · {left_s:.0f} s left")
    table.add_column("#", justify="right")
    table.add_column("player")
    table.add_column("points", justify="right")
    for row in frame.leaderboard:
        table.add_row(str(row.rank), row.username, f"{row.score:.0f}")
    return Group(table, "  ".join(f"{name} {value:g}" for name, value in tally.summary().items()))
