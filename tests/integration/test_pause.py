"""Workers that an operator lets rest: they take nothing, stay ready, and afterwards apply all that waited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from board import queues
from mesh.postgres import create_pool
from mesh.tasks import end
from scoreboard.local.program import Running
from tests.servers import Database, RedisServer, Vhost
from tests.waiting import eventually
from tests.workers import Bench
from worker import pause


@pytest.fixture
async def bench(database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(database, redis_view, vhost, tmp_path).opened() as opened:
        yield opened


async def set_paused(bench: Bench, is_paused: bool) -> None:
    """Says what AdminService.SetPaused says."""
    await bench.pool.execute("UPDATE operation SET paused = $1", is_paused)


async def until_said(workers: Sequence[Running], event: str) -> None:
    """Waits until each of the workers has logged the event."""

    def have_said() -> bool:
        # They may share a log.
        logs = {worker.log for worker in workers}
        said = sum(log.read_text().count(f'"event":"{event}"') for log in logs)
        return said >= len(workers)

    await eventually(have_said, 30, f"{event} in the log of {len(workers)} workers")


async def test_paused_workers_take_nothing_and_apply_all_of_it_afterwards(bench: Bench) -> None:
    players = await bench.add_players(20)
    async with bench.workers(2) as workers:
        first = [bench.job(player) for player in players]
        await bench.send(*first)
        await bench.answers(first)
        await set_paused(bench, True)
        await until_said(workers, "paused")
        waiting = [bench.job(player) for player in players * 5]
        for start in range(0, len(waiting), 10):
            await bench.send(*waiting[start : start + 10])
        suspects = [bench.job(player) for player in players]
        for job in suspects:
            await bench.send(job, queue=queues.SUSPECTS)
        # One that dies with messages in hand gives them back, and one that starts takes none before it knows.
        await workers[0].kill()
        async with bench.workers(1) as late:
            for worker in (workers[1], *late):
                await eventually(worker.program.is_ready, what="a worker that rests and is ready")
            assert len(await bench.rows()) == len(first)
            await set_paused(bench, False)
            await until_said([workers[1], *late], "resumed")
            await bench.until_applied(len(first) + len(waiting) + len(suspects))
            await bench.answers(waiting)
            await bench.verified()
    assert await bench.dead() == {}
    assert set((await bench.scores()).values()) == {7 * 50}


async def test_a_worker_that_stops_while_paused_loses_nothing(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    async with bench.workers(1) as workers:
        await set_paused(bench, True)
        await until_said(workers, "paused")
        jobs = [bench.job(anna) for _ in range(10)]
        for job in jobs:
            await bench.send(job)
        await workers[0].stop()
        assert await bench.rows() == []
    async with bench.workers(1) as workers:
        await until_said(workers, "paused")
        await set_paused(bench, False)
        await bench.until_applied(len(jobs))
        await bench.verified()


async def test_a_worker_that_cannot_learn_whether_to_rest_says_so_and_is_not_ready_to_work(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pause, "LOOK_S", 0.01)

    def said() -> list[tuple[int, str]]:  # of its own: what other tests have left running may say something too
        return [(one.levelno, vars(one)["event"]) for one in caplog.records if one.name == pause.__name__]

    is_known = asyncio.Event()
    async with (
        await create_pool(database.url(), name="test owner", size=1) as owner,
        await create_pool(database.url("worker"), name="test worker", size=1) as pool,
    ):
        await owner.execute("REVOKE SELECT ON operation FROM worker")
        task = asyncio.create_task(pause.keep_pausing(pool, (), is_known), name="pause")
        try:
            await eventually(lambda: bool(said()), what="a warning")
            assert not is_known.is_set()
            await owner.execute("GRANT SELECT ON operation TO worker")
            await eventually(is_known.is_set, what="the answer")
            assert said() == [(logging.WARNING, "pause_unknown")]
        finally:
            await end(task)
