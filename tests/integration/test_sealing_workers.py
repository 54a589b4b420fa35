"""Workers that seal while they work, and die while they seal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from board.audit import Audit, check
from board.audit_file import read_seals
from board.seal import TrustedKeys
from scoreboard.local import seal_key
from tests.servers import Database, RedisServer, Vhost
from tests.sizes import Record, sized
from tests.waiting import eventually
from tests.workers import Bench

JOBS = sized(40, 400)


@pytest.fixture
async def bench(database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Bench]:
    """Servers for workers of this test's own."""
    async with Bench(database, redis_view, vhost, tmp_path).opened() as made:
        yield made


async def audited(bench: Bench, folder: Path) -> Audit:
    """What `audit verify` finds, with what the workers published."""
    file = seal_key.seals_file(folder)
    published = read_seals(file) if file.exists() else []
    return await check(bench.pool, TrustedKeys.load(seal_key.public_file(folder)), published)


async def until_sealed(bench: Bench, folder: Path, rows: int) -> Audit:
    """Waits until so many rows are sealed and published, and asserts that nothing differs."""

    async def are_sealed() -> bool:
        found = await audited(bench, folder)
        assert found.differences == []
        return (found.rows, found.unsealed, found.published) == (rows, 0, found.seals)

    await eventually(are_sealed, 60, f"{rows} sealed rows")
    return await audited(bench, folder)


@pytest.mark.promise(row=38)
@pytest.mark.parametrize("point", ["worker.before_seal", "worker.after_seal"])
async def test_a_worker_that_dies_while_it_seals_leaves_a_whole_chain(
    bench: Bench, tmp_path: Path, point: str, record_property: Record
) -> None:
    seal_key.make(tmp_path)
    settings = {
        "worker_seal_s": 0.2,
        "audit_key_file": seal_key.key_file(tmp_path),
        "audit_seals_file": seal_key.seals_file(tmp_path),
    }
    (player,) = await bench.add_players(1)
    jobs = [bench.job(player, "coin") for _ in range(JOBS)]
    async with bench.workers(2, **settings) as running:
        (bench.points / point).write_text("SIGKILL")
        for job in jobs[: JOBS // 2]:
            await bench.send(job)
        await eventually(lambda: not (bench.points / point).exists(), 60, "a worker that comes to the point")
        await eventually(lambda: any(one.returncode is not None for one in running), 30, "its death")
        for job in jobs[JOBS // 2 :]:
            await bench.send(job)
        await bench.answers(jobs, 60)
        await until_sealed(bench, tmp_path, JOBS)
    record_property("faults", 1)
    record_property("updates", JOBS)


async def test_a_worker_without_a_key_works_and_says_that_it_seals_nothing(bench: Bench, tmp_path: Path) -> None:
    (player,) = await bench.add_players(1)
    async with bench.workers() as (running,):
        job = bench.job(player)
        await bench.send(job)
        await bench.answers([job])
        assert "seals_off" in running.log.read_text()
    assert await bench.pool.fetchval("SELECT count(*) FROM audit_seals") == 0
