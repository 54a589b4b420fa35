"""worker/views.py, board/origin.py: whatever becomes of Redis or Postgres, the boards follow without a new write."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from board import keys, view
from board.entry import BoardKey, Entry, UserName
from board.order import encode_user
from board.origin import read_origin
from board.period_store import close_periods, ensure_periods
from board.read_redis import RedisReader
from mesh.redis import connect
from tests.boards import REDIS_TIMEOUT_S, START, World, add_players, make_world
from tests.gate import gate_to
from tests.keeping import is_right, keeping, score
from tests.servers import Database, RedisServer
from tests.waiting import eventually
from worker import views
from worker.applied import Applied

TABLES = ("users", "score_logs", "board_entries", "board_periods")
SEQUENCES = ("users_id_seq", "board_epoch")


@pytest.fixture
async def world(database: Database, redis_view: RedisServer) -> AsyncIterator[World]:
    async with make_world(database, redis_view) as made:
        yield made


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets workers look ten times a second."""
    monkeypatch.setattr(views, "LOOK_S", 0.1)


async def back_up(world: World) -> None:
    """Keeps a copy of what the tables and sequences hold."""
    for table in TABLES:
        await world.owner.execute(f"CREATE TABLE saved_{table} AS TABLE {table}")
    for name in SEQUENCES:
        await world.owner.execute(f"CREATE TABLE saved_{name} AS SELECT last_value FROM {name}")


async def restore(world: World) -> None:
    """Puts the copy in place of what is there: a database that went back, on its timeline and with its identity."""
    async with world.owner.acquire() as conn, conn.transaction():
        await conn.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        for table in TABLES:
            await conn.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM saved_{table}")
        for name in SEQUENCES:
            await conn.execute(f"SELECT setval('{name}', last_value) FROM saved_{name}")


async def test_of_a_database_that_went_back_nothing_is_shown_that_it_does_not_know(world: World) -> None:
    await add_players(world, 2)
    reader = RedisReader(world.redis)
    async with keeping(world) as kept:
        for user in ("p1", "p2"):
            await kept.write(await score(world, user, ["a"]))
        assert await is_right(world)
        await back_up(world)
        await world.owner.execute("INSERT INTO users (user_id, username) VALUES ('lost', 'Lost')")
        for user in ("p1", "lost"):
            await kept.write(await score(world, user, ["b", "c"], 50))
        for _ in range(3):
            await view.rebuild(world.worker, world.redis, world.all, origin=(await read_origin(world.redis)).id)
        before = await reader.top(world.all, 0, 10)
        assert [(line.user_id, line.score) for line in before.rows] == [("p1", 110), ("lost", 100), ("p2", 10)]
        assert await is_right(world)
        origin = await read_origin(world.redis)
        await restore(world)
        await eventually(lambda: _is_another(world, origin.id), what="another origin")
        await eventually(lambda: view.is_ready(world.redis, world.all), what="the board")
        after = await reader.top(world.all, 0, 10)
        assert [(line.user_id, line.score) for line in after.rows] == [("p1", 10), ("p2", 10)]
        assert after.version > before.version
        # Who comes next has the inner number of the one that was lost, and is not shown by that one's name.
        await world.owner.execute("INSERT INTO users (user_id, username) VALUES ('next', 'Next')")
        await kept.write(await score(world, "next", ["d"], 70))
        first = (await reader.top(world.all, 0, 1)).rows[0]
        assert (first.user_id, first.username, first.score) == ("next", "Next", 70)
        assert await is_right(world)


async def test_periods_that_a_database_lost_are_made_again(world: World) -> None:
    await back_up(world)
    await add_players(world, 1)
    told: list[str] = []
    async with keeping(world, on_new_database=lambda: told.append("new")) as kept:
        await kept.write(await score(world, "p1", ["a"]))
        made = await world.owner.fetch("SELECT board_id, period_start FROM board_periods ORDER BY 1, 2")
        told.clear()
        await restore(world)

        async def are_made() -> bool:
            sql = "SELECT board_id, period_start FROM board_periods ORDER BY 1, 2"
            return bool(await world.owner.fetch(sql) == made and told == ["new"])

        await eventually(are_made, what="the periods")
        assert await is_right(world)


async def _is_another(world: World, origin: str) -> bool:
    return (await read_origin(world.redis)).id not in ("", origin)


async def test_a_database_that_went_back_is_noticed_though_nothing_was_written_since_redis_was_emptied(
    world: World, redis_view: RedisServer
) -> None:
    await add_players(world, 1)
    async with keeping(world) as kept:
        await kept.write(await score(world, "p1", ["a"]))
        await back_up(world)
        await kept.write(await score(world, "p1", ["b"]))
        async with Redis.from_url(redis_view.url()) as owner:
            await owner.flushall()
        assert await is_right(world)
        await restore(world)
        assert await is_right(world)


async def test_a_database_that_went_back_while_redis_was_away_is_noticed_by_what_was_not_shown(
    world: World, redis_view: RedisServer
) -> None:
    await add_players(world, 1)
    async with (
        gate_to(redis_view.port) as gate,
        connect(gate.url(redis_view.url("worker")), timeout_s=REDIS_TIMEOUT_S) as redis,
        keeping(world, redis) as kept,
    ):
        await kept.write(await score(world, "p1", ["a"]))
        await back_up(world)
        await gate.shut()
        await kept.write(await score(world, "p1", ["b", "c"]))  # remembered, and never to be shown
        await restore(world)
        await gate.open()
        assert await is_right(world)
        assert [line.score for line in (await RedisReader(world.redis).top(world.all, 0, 1)).rows] == [10]


async def test_what_a_worker_remembers_of_a_database_before_it_went_back_is_never_shown(
    world: World, redis_view: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.views")
    await add_players(world, 1)
    async with (
        gate_to(redis_view.port) as gate,
        connect(gate.url(redis_view.url("worker")), timeout_s=REDIS_TIMEOUT_S) as redis,
        keeping(world, redis) as cut_off,
        keeping(world) as other,
    ):
        await other.write(await score(world, "p1", ["a"]))
        await back_up(world)
        await gate.shut()
        await other.write(await score(world, "p1", ["b"]))
        await cut_off.write(await score(world, "p1", ["c"]))
        origin = await read_origin(world.redis)
        await restore(world)
        await eventually(lambda: _is_another(world, origin.id), what="another origin")
        assert await is_right(world)
        caplog.clear()
        await gate.open()
        await eventually(lambda: _said(caplog, "swept"), what="the worker that was cut off")
        assert await is_right(world)


async def test_of_the_names_that_redis_missed_the_newest_is_written_also_without_an_entry(
    world: World, redis_view: RedisServer
) -> None:
    refs = await add_players(world, 2)
    old, new = ({ref: UserName(ref, version, f"p{ref}", str(version)) for ref in refs} for version in (2, 3))
    entry = Entry(world.all, refs[0], 10, START, 1, hidden=False)

    async def name_of(ref: int) -> bytes | None:
        found: bytes | None = await world.redis.hget(keys.USERS, encode_user(ref))  # type: ignore[assignment]
        return found

    def shown(name: UserName) -> bytes:
        return f"{name.version}\x1f{name.user_id}\x1f{name.username}".encode()

    async with (
        gate_to(redis_view.port) as gate,
        connect(gate.url(redis_view.url("worker")), timeout_s=REDIS_TIMEOUT_S) as redis,
        keeping(world, redis) as kept,
    ):
        await kept.write(Applied(names=[old[refs[1]]]))
        assert await name_of(refs[1]) == shown(old[refs[1]])
        await gate.shut()
        for applied in (Applied(names=list(new.values())), Applied(entries=[entry], names=[old[refs[0]]])):
            await kept.write(applied)
        await gate.open()

        async def is_written() -> bool:
            return bool(await world.redis.hexists(keys.versions(world.all), encode_user(refs[0])))

        await eventually(is_written, what="what was missed")
        assert [await name_of(ref) for ref in refs] == [shown(new[ref]) for ref in refs]


async def test_a_worker_that_starts_writes_what_the_one_before_it_could_not(world: World) -> None:
    await add_players(world, 3)
    async with keeping(world) as kept:
        for user in ("p1", "p2", "p3"):
            await kept.write(await score(world, user, ["a"]))
    for user in ("p1", "p2"):
        await score(world, user, ["b"])
    epoch = await world.redis.hget(keys.meta(world.all), "epoch")
    async with keeping(world):
        assert await is_right(world)
    assert await world.redis.hget(keys.meta(world.all), "epoch") == epoch  # nothing was built anew


async def test_what_a_worker_missed_that_ended_while_redis_was_away_is_written_by_the_others(
    world: World, redis_view: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.views")
    await add_players(world, 2)
    async with (
        gate_to(redis_view.port) as gate,
        connect(gate.url(redis_view.url("worker")), timeout_s=REDIS_TIMEOUT_S) as redis,
        keeping(world, redis) as kept,
    ):
        await kept.write(await score(world, "p1", ["a"]))
        await eventually(lambda: _said(caplog, "swept"), what="the sweep of the start")
        await gate.shut()
        await eventually(lambda: _said(caplog, "redis_away"), what="a look that found Redis away")
        await score(world, "p2", ["b"])
        await gate.open()
        assert await is_right(world)
        assert [line.user_id for line in (await RedisReader(world.redis).top(world.all, 0, 2)).rows] == ["p1", "p2"]


def _said(caplog: pytest.LogCaptureFixture, event: str) -> bool:
    return any(getattr(record, "event", "") == event for record in caplog.records)


async def test_what_an_old_redis_brought_back_is_not_served(world: World) -> None:
    await add_players(world, 1)
    async with keeping(world) as kept:
        await kept.write(await score(world, "p1", ["a"]))
    # As a copy of another Redis has it: an entry of the past, and a board whose period is over.
    daily = world.catalogue.boards["daily"]
    over = daily.period_at(datetime.now(UTC) - timedelta(days=3))
    (stored,) = await ensure_periods(world.worker, [(daily.board_id, daily, over)])
    await close_periods(world.worker)
    await view.rebuild(world.worker, world.redis, stored.board)
    await world.redis.zadd(keys.places(world.all), {"0" * 25: -1000})
    await world.redis.hset(keys.VIEW, "source", "another Redis")
    async with keeping(world):
        assert await is_right(world)
        await eventually(lambda: _has_no_view(world, stored.board), what="no view of a closed period")


async def _has_no_view(world: World, board: BoardKey) -> bool:
    names = [name(board) for name in (keys.places, keys.versions, keys.meta)]
    twins = [twin(name) for twin in (keys.new, keys.old) for name in names]
    is_listed = await world.redis.sismember(keys.BOARDS, board.tag)
    return not is_listed and await world.redis.exists(*names, *twins) == 0
