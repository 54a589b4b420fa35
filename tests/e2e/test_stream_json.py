"""The WebSocket's JSON is written by stream_svc, the event stream's by the gateway: nobody should see a difference."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websockets
from httpx_sse import aconnect_sse

from tests.e2e.players import sign_up
from tests.e2e.protocols import Protocols
from tests.waiting import SCALE, eventually


async def test_an_event_and_a_text_frame_are_the_same_json(mesh: Protocols) -> None:
    await sign_up(mesh)

    async def are_equal() -> bool:
        event, text = await asyncio.gather(_first_event(mesh), _first_text(mesh))
        assert event == text  # a change between the two is seen at the next try
        return True

    await eventually(are_equal)


async def _first_event(mesh: Protocols) -> dict[str, Any]:
    async with (
        asyncio.timeout(20 * SCALE),
        aconnect_sse(mesh.http, "GET", "/api/scores/stream", params={"board": "all"}) as source,
    ):
        assert source.response.headers["content-type"] == "text/event-stream"
        async for event in source.aiter_sse():
            shown: dict[str, Any] = json.loads(event.data)
            return shown
    raise AssertionError("the stream ended without an event")


async def _first_text(mesh: Protocols) -> dict[str, Any]:
    url = str(mesh.http.base_url).replace("http", "ws", 1).rstrip("/") + "/ws/leaderboard"
    async with asyncio.timeout(20 * SCALE), websockets.connect(url) as socket:
        shown: dict[str, Any] = json.loads(await socket.recv())
        return shown
