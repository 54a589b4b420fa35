"""Services that are restarted under load, and clients who do not notice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable

import asyncpg
import pytest

from scoreboard.client import Client
from scoreboard.local import probe, state
from tests.e2e.crowd import ROWS, Crowd, crowd_at
from tests.e2e.protocols import Protocols
from tests.fault import checker
from tests.meshes import Mesh, scoreboard
from tests.sizes import SOAK, sized
from tests.waiting import SCALE, eventually

Record = Callable[[str, object], None]


@pytest.mark.promise(row=36)
@pytest.mark.timeout(1200 * SCALE)
async def test_rolling_restarts_are_invisible(breakable: Mesh, mesh: Protocols, record_property: Record) -> None:
    names, rounds, began = sorted(services(breakable)), sized(1, 10), time.time()
    async with crowd_at(breakable, mesh, players=sized(3, 10), watchers=sized(2, 10)) as crowd:
        for _ in range(rounds):
            # In waves in the small size, for the sake of time: half of them, with one of the two workers.
            waves = [[name] for name in random.sample(names, len(names))] if SOAK else [names[::2], names[1::2]]
            for wave in waves:
                await asyncio.gather(*(restart(breakable, name) for name in wave))
        await crowd.rest()
        assert crowd.errors == []
        await eventually(lambda: all_show_the_board(breakable, crowd), 20, "the same board before each watcher")
        assert crowd.errors == []
    # No stream outlives its service; that a call is turned away is no must.
    assert {"SSE watcher 0", "WebSocket watcher 0"} <= crowd.met.keys()
    record_property("faults", len(names) * rounds)
    await holds(breakable, crowd, began, record_property)


def services(mesh: Mesh) -> dict[str, state.Process]:
    """The mesh's own processes by name, as they are now."""
    ours = [one for one in state.require(mesh.data).processes if one.name.endswith("_svc") or "worker" in one.name]
    return {one.name: one for one in ours}


async def restart(mesh: Mesh, name: str) -> None:
    """SIGTERM a service, which ends in order, and wait until the gateway has found the one in its place."""
    before = services(mesh)[name]
    said = mesh.data / "logs" / "up.log"
    line = f"{name} ended with code 0; it is started again now"
    lines = said.read_text().count(line)
    os.kill(before.pid, signal.SIGTERM)
    admin = f"http://127.0.0.1:{state.require(mesh.data).ports['envoy-admin']}"

    async def is_back() -> bool:
        now = services(mesh)[name]
        return now.pid != before.pid and await probe.grpc_health(now.port, "") and await probe.envoy_serves(admin)

    await eventually(is_back, 60, f"another {name}")
    assert said.read_text().count(line) == lines + 1


async def all_show_the_board(mesh: Mesh, crowd: Crowd) -> bool:
    """Whether what each watcher shows is the board."""
    async with Client(mesh.url.removeprefix("http://")) as client:
        board = [(row.user_id, row.score) for row in (await client.top(ROWS)).leaderboard]
    return all(rows == board for rows in crowd.shown.values())


async def holds(mesh: Mesh, crowd: Crowd, since_s: float, record: Record) -> None:
    """INV: each update counted as its sender was told, and ledger, entries and Redis agree."""
    async with await asyncpg.create_pool(state.postgres_url(mesh.data), min_size=0, max_size=2) as pool:
        verdict = checker.classify(crowd.sent, await checker.find(pool, crowd.sent.values(), since_s=since_s))
    record("updates", len(crowd.sent))
    record("lost", len(verdict.lost))
    record("doubled", len(verdict.doubled))
    assert not verdict.offences
    assert len(verdict.counted) + len(verdict.recovered) > 100
    done = await scoreboard("verify", "--data", str(mesh.data))
    assert done.code == 0, done.out
