"""stream_svc while its servers come and go, and clients that do not keep up with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import grpc
import pytest
import redis.asyncio

from board.catalogue_cache import CatalogueCache
from board.entry import BoardKey
from board.read_postgres import PostgresReader
from board.read_redis import RedisReader
from board.reading import BoardReading
from mesh.identity import Identity
from mesh.postgres import create_pool
from mesh.redis import breaker
from scoreboard.client import to_error
from scoreboard.v1 import stream_pb2 as pb
from stream_svc.frames import Format
from stream_svc.hub import Hub
from stream_svc.snapshot import Me
from stream_svc.watcher import Watcher
from tests.boards import START, World, add_players, make_world
from tests.gate import gate_to
from tests.servers import Database, RedisServer
from tests.waiting import eventually
from tests.watching import Boards, Streams, streaming


@pytest.mark.promise(row=34)
async def test_an_emptied_redis_is_answered_for_by_postgres_and_no_version_falls(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with streaming(database, redis_view, tmp_path) as streams:
        watch = streams.watch()
        first = await watch.next()
        async with redis.asyncio.Redis.from_url(redis_view.url()) as owner:
            await owner.flushall()
        await streams.boards.score(3, 30, view_too=False)
        from_postgres = await watch.until(("p3", 30), ("p1", 20), ("p2", 10))
        assert from_postgres.version == first.version
        assert (await streams.watch(version=first.version).next()).leaderboard  # that version says nothing of it
        await streams.boards.build()
        await streams.boards.score(4, 40)
        rebuilt = await watch.until(("p4", 40), ("p3", 30), ("p1", 20), ("p2", 10))
        assert rebuilt.version > first.version


@pytest.mark.promise(row=34)
async def test_streams_go_on_from_postgres_while_redis_is_away(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with (
        gate_to(redis_view.port) as gate,
        streaming(database, redis_view, tmp_path, redis_port=gate.port) as streams,
        streams.socket() as socket,
    ):
        watch = streams.watch(me=True, token=streams.bearer("p1"))
        first = await watch.next()
        await socket.next()
        await gate.shut()
        await streams.boards.score(2, 25)
        frame = await watch.until(("p2", 25), ("p1", 20))
        assert frame.version == first.version
        await socket.until(("p2", 25), ("p1", 20))
        assert (await streams.watch().next()).version == first.version
        await gate.open()
        await streams.boards.score(1, 50)
        back = await watch.until(("p1", 50), ("p2", 25))
        while back.version == first.version:  # Postgres' once more: a frame or a heartbeat of Redis' own follows
            back = await watch.next()
        assert back.version > first.version


async def test_with_redis_and_postgres_away_watchers_stay_and_newcomers_are_told(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with (
        gate_to(redis_view.port) as gate,
        streaming(
            database, redis_view, tmp_path, redis_port=gate.port, settings={"stream_heartbeat_s": 0.5}
        ) as streams,
    ):
        watch = streams.watch()
        first = await watch.next()
        await gate.shut()
        async with database.closed():
            assert (await watch.next()).heartbeat
            refusal = to_error(await streams.watch(board="daily").refusal())
            assert (refusal.reason, refusal.retry_after_s) == ("LEADERBOARD_UNAVAILABLE", 1)
        await gate.open()
        await streams.boards.score(3, 30)
        assert (await watch.until(("p3", 30), ("p1", 20), ("p2", 10))).version >= first.version


@pytest.mark.promise(row=33)
async def test_a_grpc_client_that_stops_reading_is_cut_off_and_harms_nobody(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    # There is room for two: the slow one is gone when a third gets in.
    settings = {"stream_write_timeout_s": 2, "stream_watchers_max": 2}
    async with streaming(database, redis_view, tmp_path, players=100, settings=settings) as streams:
        for number in range(1, 101):
            await streams.boards.score(number, number)
        # A window that does not grow, so that what is unread stands in the server's way soon.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{streams.port}", options=options) as channel:
            slow = streams.watch(channel=channel, limit=100)
            await slow.next()
            quick, score = streams.watch(limit=1), 1000
            await quick.next()
            while not await _has_room(streams):
                score += 1
                assert score < 20_000, "the client that does not read was never cut off"
                await streams.boards.score(1, score)
                await quick.until(("p1", score))
            refusal = to_error(await slow.refusal())
            assert (refusal.reason, refusal.retry_after_s) == ("SLOW_CONSUMER", 1)


async def _has_room(streams: Streams) -> bool:
    third = streams.watch()
    try:
        await third.next()
    except grpc.aio.AioRpcError as e:
        return to_error(e).reason != "QUEUE_FULL"
    third.call.cancel()
    return True


@asynccontextmanager
async def watched(world: World, clock: list[datetime], pool: asyncpg.Pool | None = None) -> AsyncIterator[Hub]:
    """A hub in this process, which believes the clock of the test. pool: its way to Postgres."""
    catalogue = CatalogueCache(world.worker)
    await catalogue.start()
    reading = BoardReading(RedisReader(world.redis), PostgresReader(pool or world.worker), breaker())
    hub = Hub(catalogue, reading, clock=lambda: clock[0], watchers_max=10, heartbeat_s=60)
    try:
        yield hub
    finally:
        await hub.close()
        await catalogue.close()


async def test_own_places_go_on_soon_after_a_postgres_that_did_not_answer(
    database: Database, redis_view: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_world(database, redis_view) as world, gate_to(database.server.port) as gate:
        boards = Boards(world, await add_players(world, 1))
        await boards.score(1, 5, view_too=False)  # and no view: Postgres has to answer
        url, hang_s = gate.url(database.url("stream_svc")), 2.0
        async with (
            await create_pool(url, name="test", size=10, command_timeout_s=hang_s) as pool,
            watched(world, [START], pool) as hub,
        ):
            watcher = Watcher("all", 10, Format.PROTO, lambda: None)
            watcher.identity = Identity("p1", "sid", 1, frozenset(), "player", time.time() + 600)
            async with hub.watching(watcher):
                assert watcher.me == Me(1, 5)
                gate.freeze()
                hub.want_place(watcher)
                await eventually(lambda: "A board could not be read" in caplog.text, what="the end of patience")
                await boards.score(1, 6, view_too=False)
                await gate.heal()
                await eventually(lambda: watcher.me == Me(1, 6), 3 * hang_s, "the own place")


async def test_at_the_periods_end_comes_its_last_frame_and_then_the_next_period(
    database: Database, redis_view: RedisServer
) -> None:
    async with make_world(database, redis_view) as world:
        boards = Boards(world, await add_players(world, 2))
        board_id = world.catalogue.boards["daily"].board_id
        today, tomorrow = (BoardKey(board_id, datetime(2026, 11, day, tzinfo=UTC)) for day in (24, 25))
        await boards.score(1, 5, board=today, view_too=False)
        await boards.build(today)
        await boards.build(tomorrow)
        clock = [START]
        async with watched(world, clock) as hub:
            woken = asyncio.Event()
            watcher = Watcher("daily", 10, Format.PROTO, woken.set)

            async def frames() -> list[pb.LeaderboardUpdate]:
                return [pb.LeaderboardUpdate.FromString(frame) for frame in watcher.take(0)]

            async with hub.watching(watcher):
                (first,) = await frames()
                assert (first.period, [row.score for row in first.leaderboard]) == ("2026-11-24", [5])
                await boards.score(1, 6, board=today)  # just before the end
                clock[0] = START + timedelta(hours=12)
                shown: list[pb.LeaderboardUpdate] = []

                async def has_turned() -> bool:
                    shown.extend(await frames())
                    return bool(shown) and shown[-1].period == "2026-11-25"

                await eventually(has_turned)
                closing, opening = shown[-2:]
                assert (closing.period, closing.closed) == ("2026-11-24", True)
                assert [row.score for row in closing.leaderboard] == [6]
                assert (opening.period, list(opening.leaderboard)) == ("2026-11-25", [])
                assert not opening.HasField("closed")
