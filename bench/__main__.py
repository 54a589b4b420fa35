"""Measures what an operation costs: µs of CPU, summed over all processes of the mesh, the load generator's left out.

    .venv/bin/python -m bench [unary] [batch] [top]

Starts a mesh of its own, warms up, repeats, and prints the median with the spread (lowest to highest). Wall rates and
latencies are those of this machine with the load generator on it.
"""

import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench import load
from bench.mesh import Mesh, mesh

REPEATS = 3
PLAYERS = 64
BATCH_SIZE = 100


@dataclass(frozen=True)
class Figure:
    """One repeat of a case."""

    cpu_us: dict[str, float]
    per_second: float
    p50_ms: float
    p99_ms: float


Case = Callable[[int], Awaitable[load.Answers]]


async def measure(target: Mesh, case: Case, count: int) -> list[Figure]:
    """Runs a case once to warm up and then `REPEATS` times."""
    await case(max(1, count // 4))
    figures = []
    for _ in range(REPEATS):
        before = target.cpu_s()
        answers = await case(count)
        after = target.cpu_s()
        cpu_us = {name: (after[name] - before[name]) / answers.operations * 1e6 for name in after}
        p50, p99 = (answers.latencies_ms[int(share * len(answers.latencies_ms))] for share in (0.50, 0.99))
        figures.append(Figure(cpu_us, answers.operations / answers.wall_s, p50, p99))
    return figures


async def run(wanted: list[str]) -> None:
    """Runs the wanted cases, all by default, and prints a row each."""
    table = Table("case", "CPU µs/op", "spread", "ops/s", "p50 ms", "p99 ms", "by process")
    with mesh() as target:
        sessions = await load.sign_up(target.gateway, PLAYERS)
        created = json.loads(target.scoreboard("clients", "create", "bench", "--rate", "100000", "--json"))
        token = await load.client_token(target.gateway, created["client_id"], created["client_secret"])
        channels = load.channels(target.gateway)
        user_ids = [session.user_id for session in sessions]
        cases: dict[str, tuple[Case, int]] = {
            "unary": (lambda n: load.drive(load.updates(channels, sessions, n), 64), 8_000),
            "batch": (lambda n: load.drive(load.batches(channels, token, user_ids, n, BATCH_SIZE), 8), 400),
            "top": (lambda n: load.drive(load.tops(channels, n), 64), 10_000),
        }
        # Unary first: the board of the reads needs players with points.
        for name, (case, count) in cases.items():
            if wanted and name not in wanted and name != "unary":
                continue
            _add(table, name, await measure(target, case, count))
        await asyncio.gather(*(channel.close() for channel in channels))
    console = Console(width=160)
    console.print(f"{time.strftime('%Y-%m-%d')} · {platform.machine()} · Python {platform.python_version()}")
    console.print(table)


def _add(table: Table, name: str, figures: list[Figure]) -> None:
    totals = [sum(figure.cpu_us.values()) for figure in figures]
    parts = {part: statistics.median(figure.cpu_us[part] for figure in figures) for part in figures[0].cpu_us}
    by_process = ", ".join(f"{part} {cost:.0f}" for part, cost in parts.items() if cost >= 1)
    medians = [
        statistics.median(values) for values in zip(*((f.per_second, f.p50_ms, f.p99_ms) for f in figures), strict=True)
    ]
    table.add_row(
        name,
        f"{statistics.median(totals):.0f}",
        f"{min(totals):.0f} to {max(totals):.0f}",
        *(f"{value:,.0f}" if value > 100 else f"{value:.1f}" for value in medians),
        by_process,
    )


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1:]))
