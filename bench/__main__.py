"""Measures what Scoreboard costs and how fast it is: `make bench`, or `make bench CASE=unary`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.console import Console

from bench import figure
from bench.cases import backlog, fanout, growth, memory, reads, start, telemetry, updates, watching
from bench.figure import Figure
from bench.stage import Stage

CASES: dict[str, Callable[[Stage], Awaitable[list[Figure]]]] = {
    "empty": updates.empty,
    "unary": updates.unary,
    "unary512": updates.unary512,
    "json": updates.json,
    "batch": updates.batch,
    "top": reads.top,
    "top_json": reads.top_json,
    "rank": reads.rank,
    "players": growth.players,  # after rank, in whose mesh it moves the players
    "screen": watching.screen,
    "watched": watching.watched,
    "boards": growth.boards,
    "months": growth.months,
    "memory": memory.memory,
    "backlog": backlog.backlog,
    "start": start.start,
    "telemetry": telemetry.telemetry,
    "fanout": fanout.fanout,
    "fanout10k": fanout.fanout10k,
    "pushes": fanout.pushes,
}


def main(
    cases: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(CASES)}.", show_default="all", metavar="[CASE]...")
    ] = None,
    save: Annotated[bool, typer.Option(help="Write bench/results/latest.json and docs/performance.md.")] = True,
) -> None:
    """Measure CPU per operation over all processes of a mesh of its own; the load generator's is left out.

    Each case warms up and is repeated; shown are the median and the spread (lowest to highest). Exit 1 when a goal is
    missed.
    """
    wanted = [name for name in CASES if not cases or name in cases]
    if unknown := [name for name in cases or [] if name not in CASES]:
        raise typer.BadParameter(f"there is no case {unknown[0]!r}: they are {', '.join(CASES)}")
    figures = asyncio.run(measure(wanted, save))
    raise typer.Exit(any(one.is_met is False for one in figures))


async def measure(wanted: list[str], save: bool) -> list[Figure]:
    """Runs the cases one after the other, and shows and keeps what each found as it ends."""
    console = Console(width=180)
    console.print(f"{figure.machine()}; {len(wanted)} cases")
    found: list[Figure] = []
    started = time.monotonic()
    with Stage() as stage:
        for name in wanted:
            began = time.monotonic()
            with console.status(f"{name}: {(CASES[name].__doc__ or '').strip()}"):
                new = await CASES[name](stage)
            console.print(figure.table(new), f"{name}: {time.monotonic() - began:.0f} s")
            if save:
                figure.save(new, time.strftime("%Y-%m-%d"))
                figure.write_page()
            found += new
    console.print(f"all: {(time.monotonic() - started) / 60:.1f} min")
    return found


if __name__ == "__main__":
    typer.run(main)
