"""worker/reconcile.py: whatever a view says that Postgres does not is found and mended, and nothing else touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from board import keys, view
from board.entry import Entry
from board.order import encode_user
from board.origin import read_origin
from board.read_redis import RedisReader
from tests.boards import World, add_players, make_world
from tests.keeping import is_right, keeping, score
from tests.servers import Database, RedisServer, Vhost
from tests.waiting import eventually
from tests.workers import Bench
from worker import reconcile, views
from worker.reconcile import Pass, Reconciler

PLAYERS = 7


@pytest.fixture
async def world(database: Database, redis_view: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Three boards of a few players, which a worker keeps; chunks smaller than a board."""
    monkeypatch.setattr(views, "LOOK_S", 0.1)
    monkeypatch.setattr(reconcile, "SETTLE_S", 0.05)
    monkeypatch.setattr(reconcile, "CHUNK_ENTRIES", 3)
    async with make_world(database, redis_view) as made, keeping(made) as kept:
        await add_players(made, PLAYERS)
        for number in range(1, PLAYERS + 1):
            await kept.write(await score(made, f"p{number}", ["a"], 10 * number))
        yield made


async def do_pass(world: World) -> Pass:
    async with world.worker.acquire() as conn:
        return await Reconciler(world.worker, world.redis, 60).reconcile(conn)


async def epochs(world: World) -> list[bytes]:
    boards = sorted(await view.list_boards(world.redis))
    return [await world.redis.hget(keys.meta(board), "epoch") for board in boards]  # type: ignore[misc]


async def test_where_nothing_differs_nothing_is_done(world: World) -> None:
    before = await epochs(world)
    assert await do_pass(world) == Pass(entries=3 * PLAYERS)
    assert await epochs(world) == before


async def test_writes_that_were_missed_are_written_again(world: World) -> None:
    before = await epochs(world)
    for user in ("p2", "p5"):
        await score(world, user, ["b"], 100)
    await world.owner.execute("UPDATE users SET username = 'New', version = version + 1 WHERE user_id = 'p7'")
    # The names of a player are the same on all boards: the first board's pass mends them.
    assert await do_pass(world) == Pass(entries=3 * PLAYERS, healed=2 * 3 + 1)
    assert [(row.user_id, row.username) for row in (await RedisReader(world.redis).top(world.all, 0, 3)).rows] == [
        ("p5", "P5"),
        ("p2", "P2"),
        ("p7", "New"),
    ]
    assert await is_right(world)
    assert await epochs(world) == before


async def test_an_entry_that_redis_never_had_is_written(world: World) -> None:
    await world.owner.execute("INSERT INTO users (user_id, username) VALUES ('new', 'New')")
    await score(world, "new", ["a"])
    assert (await do_pass(world)).healed == 3
    assert await is_right(world)


P3, NOBODY = encode_user(3), encode_user(99)
MEMBER = "0" * 13


async def no_place(world: World) -> None:
    await world.redis.zrem(keys.places(world.all), await _member(world, P3))


async def wrong_place(world: World) -> None:
    await world.redis.zadd(keys.places(world.all), {await _member(world, P3): -5000})


async def second_place(world: World) -> None:
    await world.redis.zadd(keys.places(world.all), {MEMBER + P3: -5000})


async def place_of_nobody(world: World) -> None:
    await world.redis.zadd(keys.places(world.all), {MEMBER + NOBODY: -5000})


async def entry_of_nobody(world: World) -> None:
    await view.write_entries(world.redis, [Entry(world.all, 99, 5000, datetime.now(UTC), 1, hidden=True)], [])


async def later_entry(world: World) -> None:
    await view.write_entries(world.redis, [Entry(world.all, 3, 5000, datetime.now(UTC), 9, hidden=False)], [])


async def hidden_entry(world: World) -> None:
    await world.redis.hset(keys.versions(world.all), P3, "1 -")


async def unreadable_entry(world: World) -> None:
    await world.redis.hset(keys.versions(world.all), P3, "?")


async def _member(world: World, user: str) -> str:
    entry = await world.redis.hget(keys.versions(world.all), user)
    assert isinstance(entry, bytes)
    return entry.decode().split(" ")[1]


DAMAGES = [
    no_place,
    wrong_place,
    second_place,
    place_of_nobody,
    entry_of_nobody,
    later_entry,
    hidden_entry,
    unreadable_entry,
]


async def test_a_board_that_no_write_made_so_is_built_anew(world: World) -> None:
    for damage in DAMAGES:
        before = await epochs(world)
        await damage(world)
        assert (await do_pass(world)).distrusted == 1, damage.__name__
        assert await is_right(world), damage.__name__
        after = await epochs(world)
        assert sum(old != new for old, new in zip(before, after, strict=True)) == 1, damage.__name__


async def later_name(world: World) -> None:
    await world.redis.hset(keys.USERS, P3, "9\x1fp3\x1fNot P3")


async def other_name(world: World) -> None:
    await world.redis.hset(keys.USERS, P3, "1\x1fp3\x1fNot P3")


async def other_player(world: World) -> None:
    await world.redis.hset(keys.REFS, "p3", encode_user(4))


async def test_with_a_name_that_postgres_does_not_know_every_board_is_built_anew(world: World) -> None:
    for damage in (later_name, other_name, other_player):
        origin = (await read_origin(world.redis)).id
        await damage(world)
        assert (await do_pass(world)).distrusted == 1, damage.__name__
        await eventually(partial(_is_another, world, origin), what="another origin")
        assert await is_right(world), damage.__name__
        place = await RedisReader(world.redis).place(world.all, "p3")
        assert place is not None
        assert (place.row.username, place.row.score) == ("P3", 30)


async def _is_another(world: World, origin: str) -> bool:
    return (await read_origin(world.redis)).id not in ("", origin)


async def test_workers_compare_the_boards_by_themselves(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path
) -> None:
    async with Bench(database, redis_view, vhost, tmp_path).opened() as bench:
        players = await bench.add_players(3)
        async with bench.workers(2, worker_reconcile_s=0.2):
            jobs = [bench.job(player) for player in players]
            await bench.send(*jobs)
            await bench.answers(jobs)
            await bench.verified()
            board_id = await bench.pool.fetchval("SELECT board_id FROM boards WHERE name = 'all'")
            await bench.redis.zadd(f"sb:b:{board_id}:0:z", {MEMBER + NOBODY: -5000})
            await bench.verified()
