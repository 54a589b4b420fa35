"""How fast it catches up: a backlog of updates that one worker drains, and the rebuild of a board."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from bench import h2, load
from bench.figure import Figure, Goal
from bench.mesh import Mesh, mesh
from bench.stage import Stage
from scoreboard.local import probe, state
from scoreboard.local.services import worker_names
from scoreboard.v1 import score_pb2, signing

JOBS = 200_000
PLAYERS = 10_000
BATCH_SIZE, BATCHES_IN_FLIGHT = 100, 64  # so few that a slow machine confirms them within a call's 2 s
DRAIN_GOAL, REBUILD_GOAL = Goal(10_000, is_most=False), Goal(40_000, is_most=False)
STUCK_S = 120.0
POLL_S = 0.5


async def backlog(_: Stage) -> list[Figure]:
    """200,000 updates of 10,000 players, accepted while the workers rest, then drained by one of two workers."""
    with mesh() as target:
        async with target.postgres() as owner:
            user_ids = await _add_players(owner)
            target.scoreboard("pause", "--reason", "bench")
            target = await _with_empty_hands(target)
            await _accept(target, user_ids)
            with _held(target.pids[worker_names()[1]]):
                before = target.cpu_s()
                target.scoreboard("resume", "--reason", "bench")
                per_second = await _drained(owner)
                after = target.cpu_s()
    cpu_us = {name: (after[name] - before[name]) / JOBS * 1e6 for name in after}
    return [
        Figure("backlog: drained by one worker", [per_second], "/s", DRAIN_GOAL),
        Figure("backlog: CPU", [sum(cpu_us.values())], "µs", parts=cpu_us),
    ]


async def rebuilt(target: Mesh, entries: int) -> Figure:
    """Rebuilds the board `all`, which has so many entries, and returns how many a second an operator saw."""
    began = time.perf_counter()
    done = json.loads(await asyncio.to_thread(target.scoreboard, "rebuild", "all", "--reason", "bench", "--json"))
    per_second = entries / (time.perf_counter() - began)
    assert done["entries"] == entries, done
    return Figure(f"rebuild of a board of {entries:,}", [per_second], "entries/s", REBUILD_GOAL)


async def _add_players(owner: asyncpg.Connection) -> list[str]:
    rows = await owner.fetch(
        "INSERT INTO users (user_id, username) SELECT 'u_' || n, 'player ' || n FROM generate_series(1, $1) n"
        " RETURNING user_id",
        PLAYERS,
    )
    return [row["user_id"] for row in rows]


async def _with_empty_hands(target: Mesh) -> Mesh:
    """Starts the workers again, and returns when they rest: one that rests from its start on takes no message."""
    # One that was told to rest later still takes as many messages as it may hold, and the other would never see them.
    for name in worker_names():
        os.kill(target.pids[name], signal.SIGTERM)
    for _ in range(round(STUCK_S / POLL_S)):
        await asyncio.sleep(POLL_S)
        now = target.looked_up_again()
        is_new = all(now.pids.get(name, target.pids[name]) != target.pids[name] for name in worker_names())
        ports = state.require(target.data).ports
        if is_new and all([await probe.grpc_health(ports[name], "worker") for name in worker_names()]):
            return now
    raise TimeoutError("the workers did not come back")


async def _accept(target: Mesh, user_ids: list[str]) -> None:
    """Sends the updates; each is accepted, and pending."""
    chance = random.Random(1)
    metadata = {"authorization": f"Bearer {await target.client_token()}"}

    def prepare() -> h2.Request:
        request = score_pb2.UpdateScoresRequest()
        for user_id in chance.choices(user_ids, k=BATCH_SIZE):
            nonce = signing.client_nonce(int(time.time() * 1000), os.urandom(10))
            request.updates.add(user_id=user_id, action_id="collect-coin", nonce=nonce)
        return h2.request("/scoreboard.v1.ScoreService/UpdateScores", request.SerializeToString(), metadata)

    requests = [prepare() for _ in range(JOBS // BATCH_SIZE)]
    accepted = await load.send(target.gateway, requests, BATCHES_IN_FLIGHT, _pending)
    assert accepted.operations == JOBS, f"{accepted.operations} of {JOBS} updates are pending"


def _pending(message: bytes) -> int:
    results = score_pb2.UpdateScoresResponse.FromString(message).results
    return sum(result.status == score_pb2.PENDING for result in results)


@contextmanager
def _held(pid: int) -> Iterator[None]:
    """Keeps a process from running meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _drained(owner: asyncpg.Connection) -> float:
    """Waits until the ledger has all updates; returns how many a second it got from its first to its last."""
    until = time.monotonic() + STUCK_S
    while (count := await owner.fetchval("SELECT count(*) FROM score_logs")) < JOBS:
        assert time.monotonic() < until, f"only {count} of {JOBS} updates are in the ledger after {STUCK_S:.0f} s"
        await asyncio.sleep(POLL_S)
    applied = "FROM score_logs WHERE outcome = 0"
    assert await owner.fetchval(f"SELECT count(*) {applied}") == JOBS, "not every update counted"
    return JOBS / float(await owner.fetchval(f"SELECT extract(epoch FROM max(applied_at) - min(applied_at)) {applied}"))
