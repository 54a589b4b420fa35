"""What goes on at a mesh all day: players score, read, sign in and watch, and bear what is refused or breaks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import grpc
import httpx

from mesh.tasks import end
from scoreboard.client import Client, ScoreboardError
from scoreboard.local import state
from tests.e2e.players import PASSWORD, sign_up
from tests.e2e.protocols import Protocols
from tests.meshes import Mesh

BROKEN = (ScoreboardError, grpc.RpcError, httpx.HTTPError, TimeoutError, AssertionError)
PATIENCE_S = 5.0
PLAYERS, READERS, SIGNING_IN, WATCHERS = 4, 2, 4, 3
UPDATES_A_PLAYER = 200  # by JSON, then another signs up: a token lives for ten minutes


@asynccontextmanager
async def life(mesh: Mesh) -> AsyncIterator[None]:
    """Some of everything, until the end of the block."""
    target = mesh.url.removeprefix("http://")
    async with (
        httpx.AsyncClient(base_url=mesh.url, timeout=PATIENCE_S) as http,
        grpc.aio.insecure_channel(target) as channel,
    ):
        account = {"username": f"day-{secrets.token_hex(6)}", "password": PASSWORD}
        (await http.post("/api/auth/register", json=account)).raise_for_status()

        async def read() -> None:
            await http.get("/api/scores/leaderboard", params={"limit": 5})

        async def sign_in() -> None:
            await http.post("/api/auth/login", json=account)

        protocols = Protocols(http, channel, state.require(mesh.data).ports)
        going = [
            asyncio.create_task(again_and_again(act, pause_s, patience_s))
            for count, act, pause_s, patience_s in (
                (PLAYERS, lambda: _play(target), 0.1, None),
                (WATCHERS, lambda: _watch(target), 0.1, None),
                (1, lambda: _play_by_json(protocols), 0.1, None),
                (READERS, read, 0.1, PATIENCE_S),
                (SIGNING_IN, sign_in, 2.0, PATIENCE_S),
            )
            for _ in range(count)
        ]
        try:
            yield
            assert not [task for task in going if task.done()], "life stood still"
        finally:
            await end(*going)


async def again_and_again(
    act: Callable[[], Awaitable[None]], pause_s: float, patience_s: float | None = PATIENCE_S
) -> None:
    """Does something, whatever becomes of it, until cancelled. patience_s: for it to be done; None: any."""
    while True:
        with suppress(*BROKEN):
            async with asyncio.timeout(patience_s):
                await act()
        await asyncio.sleep(pause_s)


async def _play(target: str) -> None:
    async with Client(target) as client:
        await client.guest()
        while True:
            await client.score("win-round")
            await asyncio.sleep(0.3)


async def _play_by_json(protocols: Protocols) -> None:
    player = await sign_up(protocols)
    for _ in range(UPDATES_A_PLAYER):
        request = player.update()
        with suppress(*BROKEN):
            await protocols.call("json", "UpdateScore", request, player.signed(request))
        await asyncio.sleep(0.2)


async def _watch(target: str) -> None:
    async with Client(target) as client:
        async for _ in client.watch(limit=100):
            pass
