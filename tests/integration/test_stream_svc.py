"""stream_svc as a process: what watchers see of a board that moves, over gRPC and over the WebSocket."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from board import keys
from board.read import Row
from mesh.identity import CLOCK_SKEW_S
from scoreboard.client import to_error
from scoreboard.v1 import stream_pb2 as pb
from stream_svc import endings
from stream_svc.snapshot import Rows, apply
from tests.servers import Database, RedisServer
from tests.waiting import SCALE
from tests.watching import WAIT_S, Streams, streaming


@pytest.fixture(scope="module")
async def module_streams(
    module_database: Database, module_view: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Streams]:
    folder, settings = tmp_path_factory.mktemp("stream_svc"), {"stream_heartbeat_s": 1}
    async with streaming(module_database, module_view, folder, settings=settings) as running:
        yield running


@pytest.fixture
async def streams(module_streams: Streams) -> Streams:
    """The module's service, which shows p1 = 20 and p2 = 10."""
    await module_streams.reset()
    return module_streams


def rows_of(frame: pb.LeaderboardUpdate) -> Rows:
    return tuple(Row(row.rank, row.user_id, row.username, int(row.score)) for row in frame.leaderboard)


async def test_watchers_get_a_snapshot_at_once_and_then_each_change(streams: Streams) -> None:
    watch = streams.watch(limit=2)
    first = await watch.next()
    assert [(row.rank, row.user_id, row.username, row.score) for row in first.leaderboard] == [
        (1, "p1", "P1", 20),
        (2, "p2", "P2", 10),
    ]
    assert (first.board, first.period) == ("all", "all-time")
    await streams.boards.score(3, 30)
    second = await watch.until(("p3", 30), ("p1", 20))
    assert second.version > first.version > 0


async def test_a_websocket_gets_the_default_board_at_once_and_then_each_change(streams: Streams) -> None:
    async with streams.socket() as socket:
        first = await socket.next()
        assert first == {
            "leaderboard": [
                {"rank": 1, "userId": "p1", "username": "P1", "score": 20},
                {"rank": 2, "userId": "p2", "username": "P2", "score": 10},
            ],
            "version": first["version"],
            "board": "all",
            "period": "all-time",
            "left": [],
        }
        await streams.boards.score(2, 25)
        second = await socket.until(("p2", 25), ("p1", 20))
        assert second["version"] > first["version"]


async def test_silence_is_broken_by_heartbeats(streams: Streams) -> None:
    watch = streams.watch()
    first = await watch.next()
    beat = await watch.next()
    assert (beat.heartbeat, list(beat.leaderboard), beat.version) == (True, [], first.version)
    async with streams.socket() as socket:
        first_text = await socket.next()
        beat_text = await socket.next()
        assert "heartbeat" not in first_text
        assert (beat_text["heartbeat"], beat_text["leaderboard"]) == (True, [])


async def test_a_client_that_has_the_newest_version_gets_a_heartbeat_first(streams: Streams) -> None:
    known = (await streams.watch().next()).version
    assert (await streams.watch(version=known).next()).heartbeat
    behind = await streams.watch(version=known - 1).next()
    assert not behind.HasField("heartbeat")
    assert len(behind.leaderboard) == 2


async def test_a_change_below_the_shown_part_is_no_frame_but_moves_the_heartbeats_version(streams: Streams) -> None:
    watch = streams.watch(limit=1)
    first = await watch.next()
    await streams.boards.score(2, 15)
    beat = await watch.next()
    while beat.heartbeat and beat.version == first.version:  # one may have been due before the change was read
        beat = await watch.next()
    assert beat.heartbeat
    assert beat.version > first.version


async def test_a_wish_out_of_range_is_refused(streams: Streams) -> None:
    wishes: list[tuple[dict[str, Any], str]] = [
        ({"limit": 0}, "INVALID_ARGUMENT"),
        ({"limit": 101}, "INVALID_ARGUMENT"),
        ({"board": "b" * 51}, "INVALID_ARGUMENT"),
        ({"version": float("nan")}, "INVALID_ARGUMENT"),
        ({"version": -1}, "INVALID_ARGUMENT"),
        ({"board": "nowhere"}, "UNKNOWN_BOARD"),
    ]
    for wish, reason in wishes:
        assert to_error(await streams.watch(**wish).refusal()).reason == reason, wish


async def test_deltas_turn_the_board_that_was_sent_into_the_one_that_is(streams: Streams) -> None:
    watch, wholes = streams.watch(deltas=True, limit=3), streams.watch(limit=3)
    first = await watch.next()
    assert not first.delta
    shown = rows_of(first)
    version = first.version
    await wholes.next()
    for number, score in [(3, 15), (4, 30), (5, 40), (4, 5)]:
        await streams.boards.score(number, score)
        whole = rows_of(await wholes.next_change())
        frame = await watch.next_change()
        assert frame.delta
        assert frame.base_version == version
        shown, version = apply(shown, rows_of(frame), frame.left), frame.version
        assert shown == whole
    assert [row.user_id for row in shown] == ["p5", "p1", "p3"]


async def test_own_place_rides_along_and_follows_each_change(streams: Streams) -> None:
    watch = streams.watch(me=True, limit=1, token=streams.bearer("p3"))
    first = await watch.next()
    assert (first.me.rank, first.me.score) == (0, 0)  # no entry yet
    await streams.boards.score(3, 5)  # below the shown part
    frame = await watch.next()
    while not frame.me.rank:
        frame = await watch.next()
    assert (frame.me.rank, frame.me.score) == (3, 5)
    assert not (await streams.watch(token=streams.bearer("p3")).next()).HasField("me")  # not asked for


async def test_a_bad_token_is_refused_and_none_is_public(streams: Streams) -> None:
    refusal = to_error(await streams.watch(me=True, token="Bearer nonsense").refusal())
    assert refusal.reason == "TOKEN_INVALID"
    assert not (await streams.watch(me=True).next()).HasField("me")


async def test_a_stream_with_own_place_ends_when_its_session_is_logged_out(
    streams: Streams, module_view: RedisServer
) -> None:
    token = streams.bearer("p1", sid="out")
    watch = streams.watch(me=True, token=token)
    assert (await watch.next()).me.rank == 1
    async with redis.asyncio.Redis.from_url(module_view.url("auth_svc")) as auth:
        await auth.set(keys.deny("out"), "1")
    assert to_error(await watch.refusal()).reason == "SESSION_REVOKED"
    assert to_error(await streams.watch(me=True, token=token).refusal()).reason == "SESSION_REVOKED"


async def test_a_stream_with_own_place_ends_with_its_token(streams: Streams) -> None:
    nearly_over = time.time() - CLOCK_SKEW_S + 3 * SCALE
    watch = streams.watch(me=True, token=streams.bearer("p1", exp=nearly_over))
    assert (await watch.next()).me.rank == 1
    assert to_error(await watch.refusal()).reason == "TOKEN_EXPIRED"


@pytest.mark.promise(row=39)
async def test_sigterm_tells_every_stream_to_reconnect(streams: Streams) -> None:
    async with streams.another() as ending, AsyncExitStack() as stack:
        watches = [ending.watch() for _ in range(100)]
        sockets = [await stack.enter_async_context(ending.socket()) for _ in range(50)]
        await asyncio.gather(*(watch.next() for watch in watches), *(socket.next() for socket in sockets))
        await sockets[0].say(watch=[])
        os.kill(ending.running.pid, signal.SIGTERM)
        assert {await socket.close_code() for socket in sockets} == {endings.RESTART.close_code}
        refusals = [to_error(await watch.refusal()) for watch in watches]
        assert {(each.reason, each.retry_after_s) for each in refusals} == {("SERVICE_AWAY", 1)}
        assert await asyncio.wait_for(ending.running.ended(), WAIT_S) == 0


async def test_many_changes_are_one_frame_and_the_last_one_counts(streams: Streams) -> None:
    watch = streams.watch(limit=1)
    await watch.next()
    os.kill(streams.running.pid, signal.SIGSTOP)  # or each change might be read before the next is made
    try:
        for score in range(21, 121):
            await streams.boards.score(1, score)
    finally:
        os.kill(streams.running.pid, signal.SIGCONT)
    versions = []
    while True:
        frame = await watch.next_change()
        versions.append(frame.version)
        if frame.leaderboard[0].score == 120:
            break
    assert versions == sorted(versions)
    assert len(versions) < 10
