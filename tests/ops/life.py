"""What goes on at a mesh all day: players score, read, sign in and watch, and bear what is refused or breaks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import grpc
import httpx

from scoreboard.client import Client, ScoreboardError
from tests.meshes import Mesh

PASSWORD = "correct horse battery staple"
BROKEN = (ScoreboardError, grpc.RpcError, httpx.HTTPError, TimeoutError)
PATIENCE_S = 5.0
PLAYERS, SIGNING_IN, WATCHERS = 4, 4, 3


@asynccontextmanager
async def life(mesh: Mesh) -> AsyncIterator[None]:
    """Some of everything, until the end of the block."""
    async with httpx.AsyncClient(base_url=mesh.url, timeout=PATIENCE_S) as http:
        name = f"day-{secrets.token_hex(6)}"
        account = {"username": name, "password": PASSWORD}
        (await http.post("/api/auth/register", json=account)).raise_for_status()

        async def read() -> None:
            await http.get("/api/scores/leaderboard", params={"limit": 5})

        async def sign_in() -> None:
            await http.post("/api/auth/login", json=account)

        async with asyncio.TaskGroup() as tasks:
            going = [
                *(tasks.create_task(_play(mesh)) for _ in range(PLAYERS)),
                *(tasks.create_task(_watch(mesh)) for _ in range(WATCHERS)),
                *(tasks.create_task(again_and_again(read, 0.1)) for _ in range(2)),
                *(tasks.create_task(again_and_again(sign_in, 2.0)) for _ in range(SIGNING_IN)),
            ]
            yield
            for task in going:
                task.cancel()


async def again_and_again(act: Callable[[], Awaitable[None]], pause_s: float) -> None:
    """Does something, whatever becomes of it, until cancelled."""
    while True:
        with suppress(*BROKEN):
            async with asyncio.timeout(PATIENCE_S):
                await act()
        await asyncio.sleep(pause_s)


async def _play(mesh: Mesh) -> None:
    async with Client(mesh.url.removeprefix("http://")) as client:
        await client.guest()

        async def score() -> None:
            await client.score("win-round")

        await again_and_again(score, 0.3)


async def _watch(mesh: Mesh) -> None:
    async with Client(mesh.url.removeprefix("http://")) as client:
        async for _ in client.watch(limit=100):
            pass
