"""All streams of a stream_svc are dropped at once, and come back through the gateway while it starts again."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import websockets

from mesh.tasks import end
from scoreboard.client import Client
from scoreboard.client.watching import RECONNECT_WITHIN_S
from scoreboard.local.program import start
from tests.servers import Database, RedisServer
from tests.sizes import Record, sized
from tests.waiting import SCALE, eventually
from tests.watching import Front, Streams, gateway_before, streaming

CLIENTS = sized(200, 1000)  # half of them by the Python client, half by WebSocket
BACK_S = 30.0
GONE = (OSError, EOFError, websockets.WebSocketException)


class Watchers:
    """Clients who connect again. `scores`: what each shows of the first player; 0: nothing yet."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.scores = [0.0] * CLIENTS

    async def by_client(self, number: int) -> None:
        """Watches by the Python client, which reconnects by itself."""
        async with Client(self._front.target) as client, aclosing(client.watch(limit=1)) as boards:
            async for board in boards:
                self.scores[number] = board.leaderboard[0].score

    async def by_websocket(self, number: int) -> None:
        """Watches by WebSocket, reconnecting after a random while, as pages should."""
        while True:
            try:
                async with websockets.connect(f"ws://{self._front.target}/ws/leaderboard", close_timeout=1) as socket:
                    async for text in socket:
                        if rows := json.loads(text).get("leaderboard"):
                            self.scores[number] = rows[0]["score"]
            except GONE:
                await asyncio.sleep(random.uniform(0, RECONNECT_WITHIN_S))


@pytest.mark.promise(row=35)
@pytest.mark.timeout(300 * SCALE)
async def test_a_reconnect_storm_passes(
    database: Database, redis_view: RedisServer, tmp_path: Path, record_property: Record
) -> None:
    async with (
        streaming(database, redis_view, tmp_path) as streams,
        gateway_before(streams, tmp_path) as front,
        watching(front) as watchers,
    ):
        await eventually(lambda: min(watchers.scores) == 20, 120, "the first frame of each")
        await streams.running.kill()
        await streams.boards.score(1, 21)
        async with started_again(streams):
            await eventually(lambda: min(watchers.scores) == 21, BACK_S, "the newest frame of each")
    record_property("faults", 1)


@asynccontextmanager
async def watching(front: Front) -> AsyncIterator[Watchers]:
    """Yields watchers at work."""
    watchers = Watchers(front)
    works = (watchers.by_client, watchers.by_websocket)
    tasks = [asyncio.create_task(works[number % 2](number)) for number in range(CLIENTS)]
    try:
        yield watchers
        assert not [task for task in tasks if task.done()]
    finally:
        await end(*tasks)


@asynccontextmanager
async def started_again(streams: Streams) -> AsyncIterator[None]:
    """Starts stream_svc as its supervisor does; it is stopped at the end."""
    running = await start(streams.running.program, streams.running.log)
    try:
        yield
    finally:
        await running.stop()
