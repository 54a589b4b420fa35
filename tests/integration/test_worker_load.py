"""Many workers over the same players, and jobs that come again and again while they work."""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from board import queues
from board.job_pb2 import Job
from tests.servers import Vhost
from tests.sizes import Record, sized
from tests.waiting import eventually
from tests.workers import Bench

PLAYERS = 200
WORKERS = 6
BACKLOG_MAX = 600  # jobs: a drop gives back as much as is in hand, and that is settled one by one
DROP_EVERY_S = 1.0


async def _drop_a_consumer(vhost: Vhost) -> None:
    """Breaks one worker's connection: the broker delivers again what it had in hand."""
    async with vhost.server.api() as api:
        found = (await api.get(f"/vhosts/{vhost.name}/connections")).json()
        names = [each["name"] for each in found if each.get("user_provided_name") == "worker consumes"]
        if names:
            await api.delete(f"/connections/{random.choice(names)}")


async def _suspected(vhost: Vhost) -> int:
    """Returns how many messages went to the queue of suspects: a redelivered one, or a replay."""
    async with vhost.server.api() as api:
        queue = (await api.get(f"/queues/{vhost.name}/{queues.SUSPECTS}")).json()
    return int(queue.get("message_stats", {}).get("publish", 0))


def _is_short(bench: Bench, jobs: list[Job]) -> bool:
    return len(jobs) - len(bench.results) < BACKLOG_MAX


@pytest.mark.promise(row=17)
async def test_workers_do_not_deadlock_over_the_same_players(
    bench: Bench, vhost: Vhost, record_property: Record
) -> None:
    players = await bench.add_players(PLAYERS)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await bench.pool.fetchval(deadlocks)
    jobs: list[Job] = []
    drops = replayed = 0
    async with bench.workers(WORKERS, worker_batch_jobs_max=60, worker_prefetch=4):
        started = time.monotonic()
        while (now := time.monotonic()) < started + sized(5.0, 60.0):
            fresh = [bench.job(random.choice(players)) for _ in range(25)]
            # Others again beside them, as by a client that retries; and some alone, as by an operator's replay.
            again = random.sample(jobs[-BACKLOG_MAX:], min(10, len(jobs)))
            await bench.send(*fresh, *again)
            if random.random() < 0.1 and again:
                await bench.send(again[0], queue=queues.SUSPECTS)
                replayed += 1
            jobs += fresh
            if now > started + (drops + 0.5) * DROP_EVERY_S:
                await _drop_a_consumer(vhost)
                drops += 1
            await eventually(partial(_is_short, bench, jobs), 60, "a backlog that shrinks")
        await bench.answers(jobs, 60)

        async def some_came_again() -> bool:
            return await _suspected(vhost) > replayed

        await eventually(some_came_again, 20, "redelivered jobs")
        assert (await bench.verified()).applied == len(jobs)
    assert await bench.dead() == {}
    assert await bench.pool.fetchval(deadlocks) == before
    record_property("updates", len(jobs))
    record_property("faults", drops)
