"""An update by each protocol, seen by those who watch by each: gRPC, gRPC-Web, Server-Sent Events, WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import websockets
from httpx_sse import aconnect_sse

from scoreboard.v1 import stream_pb2, stream_pb2_grpc
from tests.e2e import grpc_web
from tests.e2e.players import Player, sign_up
from tests.e2e.protocols import Protocols
from tests.waiting import SCALE

Shown = dict[str, float]  # scores by name, of one frame
LIMIT = 100


async def by_grpc(mesh: Protocols) -> AsyncGenerator[Shown, None]:
    stub: Any = stream_pb2_grpc.StreamServiceStub(mesh.channel)
    call = stub.WatchLeaderboard(stream_pb2.WatchLeaderboardRequest(limit=LIMIT))
    try:
        async for frame in call:
            yield {row.username: row.score for row in frame.leaderboard}
    finally:
        call.cancel()


async def by_grpc_web(mesh: Protocols) -> AsyncGenerator[Shown, None]:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    body = grpc_web.frame(stream_pb2.WatchLeaderboardRequest(limit=LIMIT))
    path, pending = "/scoreboard.v1.StreamService/WatchLeaderboard", b""
    async with mesh.http.stream("POST", path, content=body, headers=headers) as answer:
        async for chunk in answer.aiter_raw():
            pending += chunk
            while len(pending) >= 5 and len(pending) >= 5 + (length := struct.unpack(">I", pending[1:5])[0]):
                frame = stream_pb2.LeaderboardUpdate.FromString(pending[5 : 5 + length])
                pending = pending[5 + length :]
                yield {row.username: row.score for row in frame.leaderboard}


async def by_sse(mesh: Protocols) -> AsyncGenerator[Shown, None]:
    async with aconnect_sse(mesh.http, "GET", "/api/scores/stream", params={"limit": LIMIT}) as source:
        async for event in source.aiter_sse():
            yield {row["username"]: row["score"] for row in json.loads(event.data)["leaderboard"]}


async def by_websocket(mesh: Protocols) -> AsyncGenerator[Shown, None]:
    url = str(mesh.http.base_url).replace("http", "ws", 1).rstrip("/") + "/ws/leaderboard"
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"watch": [{"board": "all", "limit": LIMIT}]}))
        async for frame in socket:
            yield {row["username"]: row["score"] for row in json.loads(frame)["leaderboard"]}


WATCHERS: list[Callable[[Protocols], AsyncGenerator[Shown, None]]] = [by_grpc, by_grpc_web, by_sse, by_websocket]


async def until_shown(frames: AsyncGenerator[Shown, None], name: str, score: float, ready: asyncio.Event) -> None:
    """Reads frames, saying when the first has come, until one shows this score."""
    async with aclosing(frames):
        async for shown in frames:
            ready.set()
            if shown.get(name) == score:
                return
    raise AssertionError("the stream ended before the score was shown")


@pytest.fixture
async def player(mesh: Protocols) -> Player:
    """Whose score it is."""
    return await sign_up(mesh)


@pytest.mark.parametrize("protocol", ["json", "grpc", "grpc-web"])
async def test_an_update_is_seen_by_every_kind_of_watcher(mesh: Protocols, player: Player, protocol: str) -> None:
    first = player.update()
    said = await mesh.call(protocol, "UpdateScore", first, player.signed(first))
    assert (said.message.new_score, said.message.username) == (50, player.name)
    readies = [asyncio.Event() for _ in WATCHERS]
    async with asyncio.timeout(30 * SCALE), asyncio.TaskGroup() as group:
        for watch, ready in zip(WATCHERS, readies, strict=True):
            group.create_task(until_shown(watch(mesh), player.name, 100, ready), name=watch.__name__)
        await asyncio.gather(*(ready.wait() for ready in readies))
        second = player.update()
        said = await mesh.call(protocol, "UpdateScore", second, player.signed(second))
        assert said.message.new_score == 100
