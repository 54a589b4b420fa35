"""What it costs to be seen: the same updates in two meshes by turns, of which one tells all and one nothing."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import aiohttp

from bench import load
from bench.figure import Figure, Goal
from bench.mesh import TREE, Mesh, mesh
from bench.stage import PLAYERS, Repeat, Stage, cpu_figure, repeat
from scoreboard.local import state
from scoreboard.local.ports import Ports
from scoreboard.v1 import auth_pb2

TURNS = 5
UPDATES = 10_000
SCRAPE_S = 5.0  # three times as often as Prometheus is told in docs/
GOAL = Goal(1.10)


async def telemetry(stage: Stage) -> list[Figure]:
    """One update a gRPC call, 64 in flight: spans at 1 %, an access log and scraped metrics, beside none of them."""
    del stage  # both meshes are this case's own
    with _collector() as endpoint:
        told = {"SCOREBOARD_TRACES_ENDPOINT": endpoint, "SCOREBOARD_TRACES_RATIO": "0.01"}
        with mesh({"SCOREBOARD_ACCESS_LOG_PERCENT": "0"}) as dark, mesh(told) as seen:
            darks, seens = [await load.sign_up(target.gateway, PLAYERS) for target in (dark, seen)]
            without, with_it = [], []
            for _ in range(TURNS):
                without.append(await _measured(dark, darks))
                async with _scraped(seen):
                    with_it.append(await _measured(seen, seens))
    ratios = [after.total_us / before.total_us for before, after in zip(without, with_it, strict=True)]
    return [
        cpu_figure("update, nothing told", without),
        cpu_figure("update, all told", with_it),
        Figure("telemetry: CPU beside none", ratios, "× none", GOAL),
    ]


async def _measured(target: Mesh, sessions: Sequence[auth_pb2.Session]) -> Repeat:
    async def run(count: int) -> load.Answers:
        return await load.send(target.gateway, load.updates(sessions, count), 64, load.is_applied)

    (measured,) = await repeat(target, run, UPDATES, repeats=1)
    return measured


@contextmanager
def _collector() -> Iterator[str]:
    ports = Ports()
    port = ports.take("collector")
    ports.release_all()
    process = subprocess.Popen([sys.executable, "-m", "bench.collector", str(port)], cwd=TREE)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def _scraped(target: Mesh) -> AsyncIterator[None]:
    urls = [
        f"http://127.0.0.1:{port}/metrics"
        for name, port in state.require(target.data).ports.items()
        if name.endswith("-ops")
    ]

    async def scrape() -> None:
        async with aiohttp.ClientSession() as client:
            while True:
                for url in urls:
                    async with client.get(url) as answer:
                        await answer.read()
                await asyncio.sleep(SCRAPE_S)

    task = asyncio.create_task(scrape(), name="scrapes")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
