"""Redis and stream_svc die under watchers: what these are shown has no gap, and is the board again soon."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import grpc
import pytest
import websockets
from google.protobuf.json_format import ParseDict

from board.entry import BoardKey
from board.periods import BEGINNING
from board.read import Row
from board.read_postgres import PostgresReader
from mesh import tasks
from scoreboard.v1 import stream_pb2 as pb
from stream_svc.snapshot import Rows, apply
from tests.fault.faults import flush_redis
from tests.fault.load import Load
from tests.fault.process import Process
from tests.fault.trial import Trial
from tests.fault.world import World
from tests.sizes import BUSY, sized
from tests.waiting import SCALE, eventually

ROUNDS = sized(1, 20)
AWAY_S = sized(4.0, 10.0)
RIGHT_S = 5.0 * BUSY
WATCHERS = 4  # of each kind
ROWS = 10  # what a WebSocket shows unasked
RETRY_S = 0.2
LOAD_PER_S = 40
LEAD = 1_000_000  # points that nobody makes up for

GONE = (OSError, EOFError, websockets.WebSocketException)


class Watcher:
    """A client that connects again whenever its stream ends. `rows`: what it shows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rows: Rows = ()
        self.version = 0.0  # the newest; 0: none yet
        self._base = -1.0  # version of this stream's last frame; below 0: none came yet

    async def by_grpc(self) -> None:
        """Watches by deltas, until it is cancelled."""
        while True:
            self._base = -1.0
            try:
                async for frame in self._world.streams.WatchLeaderboard(
                    pb.WatchLeaderboardRequest(limit=ROWS, deltas=True)
                ):
                    self._take(frame)
            except grpc.aio.AioRpcError as e:
                if e.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(RETRY_S)

    async def by_websocket(self) -> None:
        """Watches whole boards, until it is cancelled."""
        url = f"ws://127.0.0.1:{self._world.stream_http_port}/ws/leaderboard"
        while True:
            self._base = -1.0
            try:
                async with websockets.connect(url, close_timeout=RETRY_S) as socket:
                    async for text in socket:
                        frame = json.loads(text)
                        if frame.get("reason") != "LEADERBOARD_UNAVAILABLE":  # else it comes once it can be read
                            self._take(ParseDict(frame, pb.LeaderboardUpdate()))
            except GONE:
                pass
            await asyncio.sleep(RETRY_S)

    def _take(self, frame: pb.LeaderboardUpdate) -> None:
        is_first = self._base < 0
        assert not (is_first and (frame.delta or frame.heartbeat)), "a stream begins with a snapshot"
        assert not frame.delta or frame.base_version == self._base, "a delta is of the frame before"
        assert frame.version >= self.version or frame.version == 0, f"version {frame.version} after {self.version}"
        self._base, self.version = frame.version, frame.version or self.version
        rows = tuple(Row(row.rank, row.user_id, row.username, int(row.score)) for row in frame.leaderboard)
        if frame.delta:
            self.rows = apply(self.rows, rows, frame.left)
        elif not frame.heartbeat:
            self.rows = rows


@pytest.mark.promise(row=34)
@pytest.mark.timeout(900 * SCALE)
async def test_a_stream_has_no_gap(trial: Trial) -> None:
    world, load = trial.world, trial.load
    redis, stream_svc = world.processes["redis"], world.processes["stream_svc"]
    await lead(world, load)
    async with watching(trial) as watchers:
        for _ in range(ROUNDS):
            for fault in (partial(die, redis), partial(die, stream_svc), partial(flush_redis, world)):
                async with load.running(rate_per_s=LOAD_PER_S):
                    await fault()
                await next_is_shown(trial, watchers)
        await redis.kill()
        await load.play(ROWS)
        await next_is_shown(trial, watchers)  # from Postgres: what Redis sent has come
        shown = max(watcher.version for watcher in watchers)
        back_at = time.monotonic() + AWAY_S
        while time.monotonic() < back_at:
            await load.play(ROWS)
            await next_is_shown(trial, watchers)
        assert max(watcher.version for watcher in watchers) == shown, "only Redis gives versions"
        await redis.start()

        async def is_redis_watched() -> bool:
            await next_is_shown(trial, watchers)  # without a change only a heartbeat would tell the version
            return all(watcher.version > shown for watcher in watchers)

        await eventually(is_redis_watched, 2 * RIGHT_S, "Redis, watched")
    await trial.holds()


async def lead(world: World, load: Load) -> None:
    """Makes the first places of the board `all` its players': the first stays first. Whoever played before is below."""
    best = await world.pool.fetchval("SELECT coalesce(max(score), 0) FROM users")
    await load.add_players(1, best + LEAD)
    await load.add_players(2 * ROWS, best + 1)
    await world.view.flushall()
    await eventually(world.is_shown, 60, "all boards in Redis")


async def die(process: Process) -> None:
    """Kills it and starts it again."""
    await process.kill()
    await process.start()


@asynccontextmanager
async def watching(trial: Trial) -> AsyncIterator[list[Watcher]]:
    """Yields watchers at work; what one of them finds wrong fails the block."""
    watchers = [Watcher(trial.world) for _ in range(2 * WATCHERS)]
    works = [watcher.by_grpc() for watcher in watchers[::2]] + [watcher.by_websocket() for watcher in watchers[1::2]]
    watch = asyncio.create_task(together(works), name="watchers")
    try:
        await next_is_shown(trial, watchers)
        yield watchers
        assert not watch.done()
    finally:
        await tasks.end(watch)
        if watch.done() and not watch.cancelled():
            watch.result()


async def together(works: Iterable[Awaitable[None]]) -> None:
    """Does all of it at once; the first failure ends it."""
    await asyncio.gather(*works)


async def next_is_shown(trial: Trial, watchers: Sequence[Watcher]) -> None:
    """Changes the first row, and waits until each shows the board as Postgres has it: none that it showed before."""
    world, load, truth = trial.world, trial.load, PostgresReader(trial.world.pool)
    board = BoardKey(await world.pool.fetchval("SELECT board_id FROM boards WHERE name = 'all'"), BEGINNING)
    before = (await truth.top(board, 0, ROWS)).rows[0]
    await load.send(load.players[0])

    async def is_so() -> bool:
        rows = (await truth.top(board, 0, ROWS)).rows
        return rows[0] != before and all(watcher.rows == rows for watcher in watchers)

    await eventually(is_so, RIGHT_S, "the board before each watcher")
