"""`scoreboard demo`: plays against a running mesh and shows the board as it moves."""

import asyncio
import contextlib
import itertools
import json
import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scoreboard.cli.demo_picture import Picture, counts_line
from scoreboard.cli.options import DEFAULT_DATA, Data
from scoreboard.client import Client, ScoreboardError
from scoreboard.demo import SIGN_UPS_AT_ONCE, Roster, Tally, keep_session, play, sign_in
from scoreboard.local import state
from scoreboard.local.trouble import Trouble

REFRESHES_PER_SECOND = 8  # a smooth countdown at little cost


def demo(
    players: Annotated[
        int,
        typer.Option(min=1, max=10_000, envvar="SCOREBOARD_PLAYERS", help="How many players sign up and play."),
    ] = 20,
    seconds: Annotated[
        int, typer.Option(min=1, max=86_400, envvar="SCOREBOARD_SECONDS", help="How long they play.")
    ] = 30,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="SCOREBOARD_JSON", help="Print the summary as JSON, and no live table.")
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Let players sign up and play through the gateway like real clients; exit 1 when anything failed.

    A refusal by a limit is waited out and counted as refused, not failed. The players are kept in the data folder.
    Ctrl-C ends the game early; what is in hand gets its answer.
    """
    target = state.gateway_target(data)
    tally, roster = Tally(), _roster(data / "demo-players.json")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(_run(target, roster, tally, players, float(seconds), Console(stderr=True, quiet=as_json)))
        except ScoreboardError as e:
            cure = f"Look at: scoreboard status --data {data}, and {data}/logs."
            raise Trouble(f"The demo could not sign its players in: {e}", cure) from None
        except OSError as e:
            raise Trouble(f"The demo cannot keep its players: {e}", state.FOLDER_CURE) from None
    summary = tally.summary()
    if as_json:
        print(json.dumps(summary))
    else:
        print(counts_line(summary))
        if tally.reasons:
            print("not ok: " + ", ".join(f"{reason} {count}" for reason, count in tally.reasons.most_common()))
    raise typer.Exit(1 if summary["failed"] else 0)


def _roster(path: Path) -> Roster:
    try:
        return Roster(path)
    except (OSError, ValueError) as e:
        raise Trouble(f"The demo cannot read its players in {path}: {e}", "Remove it: new ones then sign up.") from None


async def _run(target: str, roster: Roster, tally: Tally, count: int, seconds: float, console: Console) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(target)) for _ in range(count)]
        signed_in: list[tuple[Client, dict[str, str]]] = []
        try:
            await _sign_all_in(clients, roster, tally, console, signed_in)
            await _play_all(clients, tally, seconds, console)
        finally:
            for client, player in signed_in:
                keep_session(client, player)
            roster.save()


async def _sign_all_in(
    clients: list[Client],
    roster: Roster,
    tally: Tally,
    console: Console,
    signed_in: list[tuple[Client, dict[str, str]]],
) -> None:
    bar = Progress(
        TextColumn("Players signing in{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("", total=len(clients))
    waiting = list(itertools.zip_longest(clients, roster.players[: len(clients)]))

    def say_limit(wait_s: float) -> None:
        bar.update(task, description=f" (held by a limit for {wait_s:.0f} s)")

    async def sign_in_next() -> None:
        while waiting:
            client, player = waiting.pop()
            signed_in.append((client, await sign_in(client, roster, player, tally, say_limit)))
            bar.update(task, advance=1, description="")

    with bar:
        await asyncio.gather(*(sign_in_next() for _ in range(SIGN_UPS_AT_ONCE)))


async def _play_all(clients: list[Client], tally: Tally, seconds: float, console: Console) -> None:
    over, picture = asyncio.Event(), Picture(tally, len(clients), time.monotonic() + seconds)
    loop = asyncio.get_running_loop()
    bell = loop.call_later(seconds, over.set)

    def stop_early() -> None:
        over.set()
        picture.ending = "ending"
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C waits for nobody

    loop.add_signal_handler(signal.SIGINT, stop_early)
    screen = Live(get_renderable=picture.render, console=console, refresh_per_second=REFRESHES_PER_SECOND)
    watching = asyncio.create_task(_watch(clients[0], picture), name="demo board")
    try:
        with screen:
            async with asyncio.TaskGroup() as games:
                for number, client in enumerate(clients):
                    games.create_task(play(client, tally, over), name=f"demo player {number}")
            picture.ending = "over"
    finally:
        bell.cancel()
        loop.remove_signal_handler(signal.SIGINT)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(client: Client, picture: Picture) -> None:
    async for snapshot in client.watch(limit=10):
        picture.take(snapshot)
