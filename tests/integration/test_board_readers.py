"""The conformance suite of board readers: Redis and Postgres answer alike."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from redis.asyncio import Redis

from board import keys, read_postgres, view
from board.entry import BoardKey, Entry
from board.instant import to_us
from board.order import SCORE_MAX, sort_key
from board.read import BoardReader, NotReady, Page, Place, Row
from board.read_postgres import PostgresReader
from board.read_redis import RedisReader
from board.reading import BoardReading
from mesh.postgres import create_pool
from mesh.redis import breaker, connect
from tests.boards import REDIS_TIMEOUT_S, START, World, add_players, empty, make_world, put_entries
from tests.servers import Database, RedisServer

LATER = START + timedelta(microseconds=1)


@pytest.fixture(scope="module")
async def module_world(module_database: Database, redis_server: RedisServer) -> AsyncIterator[World]:
    async with make_world(module_database, redis_server) as made:
        yield made


@pytest.fixture
async def world(module_world: World, redis_view: RedisServer) -> World:
    """The module's world without players, and an empty Redis."""
    await empty(module_world)
    return module_world


@pytest.fixture(params=["redis", "postgres"])
async def reader(
    request: pytest.FixtureRequest, module_database: Database, redis_view: RedisServer
) -> AsyncIterator[BoardReader]:
    """Each reader, with the rights of leaderboard_svc alone."""
    if request.param == "redis":
        async with connect(redis_view.url("leaderboard_svc"), timeout_s=REDIS_TIMEOUT_S) as redis:
            yield RedisReader(redis)
    else:
        url = module_database.url("leaderboard_svc")
        async with await create_pool(url, name="test reader", size=2, command_timeout_s=60) as pool:
            yield PostgresReader(pool)


async def _fill(world: World, board: BoardKey, places: list[tuple[int, datetime, bool]]) -> None:
    """Gives p1, p2, … an entry each: (score, reached at, hidden)."""
    refs = await add_players(world, len(places))
    entries = [
        Entry(board, ref, score, reached_at, 1, hidden)
        for ref, (score, reached_at, hidden) in zip(refs, places, strict=True)
    ]
    await put_entries(world, entries)
    assert await view.rebuild(world.worker, world.redis, board) is not None


def _shown(page: Page | None) -> list[tuple[int, str, int]]:
    assert page is not None
    return [(row.rank, row.user_id, row.score) for row in page.rows]


async def test_more_points_rank_first_and_equal_ones_by_who_was_there_first(world: World, reader: BoardReader) -> None:
    places = [(50, LATER, False), (50, START, False), (70, LATER, False), (50, START, False), (-10, START, False)]
    await _fill(world, world.all, places)
    page = await reader.top(world.all, 0, 10)
    assert _shown(page) == [(1, "p3", 70), (2, "p2", 50), (3, "p4", 50), (4, "p1", 50), (5, "p5", -10)]
    assert page.players == 5
    assert page.rows[0].username == "P3"


async def test_hidden_players_have_no_place_and_leave_no_gap(world: World, reader: BoardReader) -> None:
    await _fill(world, world.all, [(30, START, False), (20, START, True), (10, START, False)])
    page = await reader.top(world.all, 0, 10)
    assert _shown(page) == [(1, "p1", 30), (2, "p3", 10)]
    assert page.players == 2
    assert await reader.place(world.all, "p2") is None
    assert await reader.around(world.all, "p2", 5) is None


async def test_a_page_begins_after_its_offset_and_ends_with_the_board(world: World, reader: BoardReader) -> None:
    await _fill(world, world.all, [(100 - n, START, False) for n in range(7)])
    assert _shown(await reader.top(world.all, 2, 3)) == [(3, "p3", 98), (4, "p4", 97), (5, "p5", 96)]
    assert _shown(await reader.top(world.all, 5, 10)) == [(6, "p6", 95), (7, "p7", 94)]
    beyond = await reader.top(world.all, 7, 10)
    assert (beyond.rows, beyond.players) == ((), 7)


async def test_a_place_is_the_players_row(world: World, reader: BoardReader) -> None:
    await _fill(world, world.all, [(1, START, False), (2, START, False), (3, START, False)])
    place = await reader.place(world.all, "p1")
    assert place is not None
    assert (place.row, place.players, place.approximate) == (Row(3, "p1", "P1", 1), 3, False)
    assert place.row.reached_at_us == to_us(START)


async def test_neighbours_stop_at_the_ends_of_the_board(world: World, reader: BoardReader) -> None:
    await _fill(world, world.all, [(100 - n, START, False) for n in range(7)])
    assert _shown(await reader.around(world.all, "p4", 2)) == [
        (2, "p2", 99),
        (3, "p3", 98),
        (4, "p4", 97),
        (5, "p5", 96),
        (6, "p6", 95),
    ]
    assert _shown(await reader.around(world.all, "p1", 1)) == [(1, "p1", 100), (2, "p2", 99)]
    assert _shown(await reader.around(world.all, "p7", 1)) == [(6, "p6", 95), (7, "p7", 94)]


async def test_nobody_is_found_where_there_is_nobody(world: World, reader: BoardReader) -> None:
    await _fill(world, world.all, [(1, START, False)])
    assert await reader.place(world.all, "nobody") is None
    assert await reader.around(world.all, "nobody", 5) is None
    daily = world.key("daily", START)
    await view.rebuild(world.worker, world.redis, daily)
    empty = await reader.top(daily, 0, 10)
    assert (empty.rows, empty.players) == ((), 0)
    assert await reader.place(daily, "p1") is None


async def test_periods_of_a_board_are_apart(world: World, reader: BoardReader) -> None:
    today, tomorrow = world.key("daily", START), world.key("daily", START + timedelta(days=1))
    await _fill(world, today, [(5, START, False)])
    await view.rebuild(world.worker, world.redis, tomorrow)
    assert _shown(await reader.top(today, 0, 10)) == [(1, "p1", 5)]
    assert _shown(await reader.top(tomorrow, 0, 10)) == []


async def test_the_largest_scores_are_exact(world: World, reader: BoardReader) -> None:
    scores = [SCORE_MAX, SCORE_MAX - 1, 0, 1 - SCORE_MAX, -SCORE_MAX]
    await _fill(world, world.all, [(score, START, False) for score in scores])
    assert [row.score for row in (await reader.top(world.all, 0, 10)).rows] == scores


async def test_names_of_any_script_are_shown_as_they_are(world: World, reader: BoardReader) -> None:
    await world.owner.execute("INSERT INTO users (user_id, username) VALUES ('u', 'Zoë 🏆 日本 \"x\"')")
    ref = await world.owner.fetchval("SELECT id FROM users")
    await put_entries(world, [Entry(world.all, ref, 1, START, 1, hidden=False)])
    await view.rebuild(world.worker, world.redis, world.all)
    assert (await reader.top(world.all, 0, 1)).rows == (Row(1, "u", 'Zoë 🏆 日本 "x"', 1),)


async def test_redis_sql_and_python_sort_alike(world: World, reader: BoardReader) -> None:
    instants = [datetime(1970, 1, 1, tzinfo=UTC), START, LATER, datetime(2100, 1, 1, tzinfo=UTC)]
    # Scores repeat every 5 players and instants every 4, so that ties of both kinds abound.
    places = [((n * 7) % 5 - 2, instants[(n * 3) % 4], n % 11 == 0) for n in range(200)]
    await _fill(world, world.all, places)
    entries = sorted(
        (sort_key(score, at, number) for number, (score, at, hidden) in enumerate(places, start=1) if not hidden),
    )
    found = [*(await reader.top(world.all, 0, 100)).rows, *(await reader.top(world.all, 100, 100)).rows]
    assert [(row.rank, row.user_id, row.score) for row in found] == [
        (rank, f"p{number}", -minus) for rank, (minus, _, number) in enumerate(entries, start=1)
    ]


async def test_those_ahead_of_a_score_are_counted_as_they_stand(world: World, reader: BoardReader) -> None:
    instants = [START, LATER, LATER + timedelta(microseconds=1)]
    places = [((n * 7) % 5 - 2, instants[(n * 5) % 3], n % 11 == 0) for n in range(200)]
    await _fill(world, world.all, places)
    shown = [(-score, at) for score, at, hidden in places if not hidden]
    for score in (-SCORE_MAX, *range(-3, 4), SCORE_MAX):
        for at in (datetime(1970, 1, 1, tzinfo=UTC), *instants, datetime(2100, 1, 1, tzinfo=UTC)):
            ahead = await reader.ahead(world.all, score, to_us(at))
            assert (ahead.count, ahead.approximate) == (sum(each < (-score, at) for each in shown), False)


async def test_a_board_that_redis_does_not_have_is_not_ready(world: World, redis_view: RedisServer) -> None:
    await _fill(world, world.all, [(1, START, False)])
    async with connect(redis_view.url("leaderboard_svc"), timeout_s=REDIS_TIMEOUT_S) as redis:
        reader = RedisReader(redis)
        await world.redis.hdel(keys.USERS, "000000000001")
        with pytest.raises(NotReady):  # a place without its name is not the whole board
            await reader.top(world.all, 0, 10)
        await view.drop(world.redis, world.all)
        around, ahead = reader.around(world.all, "p1", 1), reader.ahead(world.all, 1, 0)
        for answer in (reader.top(world.all, 0, 10), reader.place(world.all, "p1"), around, ahead):
            with pytest.raises(NotReady):
                await answer


async def test_players_who_are_asked_for_at_once_share_few_calls_and_each_gets_his_own_answer(
    world: World, redis_view: RedisServer
) -> None:
    players, daily, gone = 70, world.key("daily", START), world.key("daily", START + timedelta(days=1))
    await _fill(world, world.all, [(100 - n, START, False) for n in range(players)])
    await put_entries(world, [Entry(daily, 5, 1, START, 1, hidden=False)])
    await view.rebuild(world.worker, world.redis, daily)
    async with (
        connect(redis_view.url("leaderboard_svc"), timeout_s=REDIS_TIMEOUT_S) as redis,
        connect(redis_view.url(), timeout_s=REDIS_TIMEOUT_S) as owner,
    ):
        reader = RedisReader(redis)
        await reader.place(world.all, "p1")  # Redis knows the script from now on
        before = await _scripts_run(owner)
        places = [reader.place(world.all, f"p{number}") for number in range(1, players + 1)]
        others = [reader.around(world.all, "p3", 1), reader.place(daily, "p5"), reader.place(daily, "p6")]
        found = await asyncio.gather(*places, *others, reader.place(gone, "p1"), return_exceptions=True)
        assert await _scripts_run(owner) - before == 2
        *ranks, around, on_daily, nobody, not_ready = found
        assert [place.row.rank for place in ranks if isinstance(place, Place)] == list(range(1, players + 1))
        assert isinstance(around, Page)
        assert _shown(around) == [(2, "p2", 99), (3, "p3", 98), (4, "p4", 97)]
        assert isinstance(on_daily, Place)
        assert (on_daily.row, on_daily.players) == (Row(1, "p5", "P5", 1), 1)
        assert (nobody, type(not_ready)) == (None, NotReady)
        await owner.script_flush()  # as a Redis that was started again
        place = await reader.place(world.all, "p2")
        assert (place and place.row.rank) == 2


async def _scripts_run(owner: Redis) -> int:
    stats = await owner.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_a_rank_from_postgres_is_counted_no_further_than_its_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_postgres, "RANK_EXACT_MAX", 3)
    await _fill(world, world.all, [(100 - n, START, False) for n in range(6)])
    reader = cast(BoardReader, PostgresReader(world.worker))
    ranks = []
    for number in range(1, 7):
        place = await reader.place(world.all, f"p{number}")
        assert place is not None
        ranks.append((place.row.rank, place.approximate))
    assert ranks == [(1, False), (2, False), (3, False), (4, False), (5, True), (5, True)]


async def test_what_postgres_said_is_given_to_the_next_who_asks_until_redis_is_back(world: World) -> None:
    await _fill(world, world.all, [(1, START, False)])
    reading = BoardReading(RedisReader(world.redis), PostgresReader(world.worker, top_life_s=60), breaker())
    await view.distrust(world.redis, world.all)
    for score in (1, 2):  # the same answer, though Postgres has another by now
        page, stale = await reading.top(world.all, 0, 10)
        assert ([row.score for row in page.rows], stale) == ([1], True)
        await put_entries(world, [Entry(world.all, 1, score + 1, START, score + 1, hidden=False)])
    await view.rebuild(world.worker, world.redis, world.all)
    page, stale = await reading.top(world.all, 0, 10)
    assert ([row.score for row in page.rows], stale) == ([3], False)
