"""A board that an operator asked for is built whatever happens to the worker that is at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from board import keys, view
from board.origin import read_origin
from tests.boards import World, add_players, make_world
from tests.keeping import keeping, score
from tests.servers import Database, RedisServer, Vhost
from tests.waiting import eventually
from tests.workers import Bench
from worker import rebuilds

PLAYERS = 1_100  # three chunks


@pytest.fixture
async def bench(database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(database, redis_view, vhost, tmp_path).opened() as opened:
        yield opened


@pytest.fixture
async def world(database: Database, redis_view: RedisServer) -> AsyncIterator[World]:
    """Boards that a worker has seen to, and nobody sees to now."""
    async with make_world(database, redis_view) as made:
        await add_players(made, 1)
        async with keeping(made):
            await score(made, "p1", ["a"])
        yield made


async def ask(pool: asyncpg.Pool, board: str) -> int:
    """Asks for a rebuild of a board's present period as admin_svc does, and returns its number."""
    return int(
        await pool.fetchval(
            "INSERT INTO board_rebuilds (board_id, period_start)"
            " SELECT board_id, period_start FROM board_periods JOIN boards USING (board_id)"
            " WHERE name = $1 AND period_start <= now() ORDER BY period_start DESC LIMIT 1 RETURNING id",
            board,
        )
    )


async def test_a_rebuild_survives_the_worker_that_was_at_it(bench: Bench) -> None:
    players = await bench.add_players(PLAYERS)
    async with bench.workers(2) as workers:
        jobs = [bench.job(player) for player in players]
        for start in range(0, PLAYERS, 500):
            await bench.send(*jobs[start : start + 500])
        await bench.answers(jobs)
        (bench.points / "worker.rebuilding").write_text("SIGKILL")
        number = await ask(bench.pool, "all")

        async def is_done() -> bool:
            sql = "SELECT done = total AND done = $2 FROM board_rebuilds WHERE id = $1 AND finished_at IS NOT NULL"
            return bool(await bench.pool.fetchval(sql, number, PLAYERS))

        await eventually(is_done, 60, "the rebuild by the other worker")
        assert not (bench.points / "worker.rebuilding").exists()
        assert sorted(worker.returncode is None for worker in workers) == [False, True]
        more = bench.job(players[0])
        await bench.send(more)
        await bench.answers([more])
        await bench.verified()


async def test_a_rebuild_of_a_period_that_closed_meanwhile_is_over(bench: Bench) -> None:
    async with bench.workers(1):
        day = "SELECT board_id FROM boards WHERE name = 'daily'"
        await bench.pool.execute(
            "INSERT INTO board_periods (board_id, period_start, period_end, closes_at, label, state)"
            f" SELECT ({day}), '2026-01-01Z', '2026-01-02Z', '2026-01-02Z', '2026-01-01', 1"
        )
        number = await bench.pool.fetchval(
            f"INSERT INTO board_rebuilds (board_id, period_start) SELECT ({day}), '2026-01-01Z' RETURNING id"
        )

        async def is_done() -> bool:
            sql = "SELECT finished_at IS NOT NULL FROM board_rebuilds WHERE id = $1"
            return bool(await bench.pool.fetchval(sql, number))

        await eventually(is_done, 30, "its end")


async def test_a_board_that_is_not_served_is_left_to_its_repair_first(world: World) -> None:
    """Of two rebuilds the later wins: two that begin anew whenever they lost would never end."""
    await ask(world.owner, "all")
    await view.distrust(world.redis, world.all)
    assert not await rebuilds.rebuild_next(world.worker, world.redis)
    assert not await world.redis.hexists(keys.meta(world.all), "build")
    assert await view.rebuild(world.worker, world.redis, world.all, origin=(await read_origin(world.redis)).id)
    assert await rebuilds.rebuild_next(world.worker, world.redis)
    assert not await rebuilds.rebuild_next(world.worker, world.redis)


async def test_a_board_that_takes_long_to_be_counted_is_built_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await ask(world.owner, "all")
    monkeypatch.setattr(rebuilds, "COUNT_TIMEOUT_S", 0.0)
    assert await rebuilds.rebuild_next(world.worker, world.redis)
    told = await world.owner.fetchrow("SELECT done, total FROM board_rebuilds WHERE id = $1", number)
    assert told is not None
    assert tuple(told) == (1, 1)
