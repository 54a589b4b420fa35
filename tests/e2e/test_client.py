"""The Python client at a whole mesh: sessions that renew, updates that count once, watches that come back."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import grpc
import pytest

from scoreboard.client import Client, ScoreboardError
from scoreboard.v1 import auth_pb2
from tests.meshes import Mesh
from tests.waiting import SCALE, eventually

PASSWORD = "correct horse battery staple"


@asynccontextmanager
async def connected(mesh: Mesh) -> AsyncIterator[Client]:
    async with Client(mesh.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
async def player(running: Mesh) -> AsyncIterator[Client]:
    """A client that has just signed up."""
    async with connected(running) as client:
        await client.register(f"c-{secrets.token_hex(6)}", PASSWORD)
        yield client


async def kill(mesh: Mesh, name: str) -> None:
    """Kill a process of the mesh and wait until another has its place."""
    pid = await mesh.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_replaced() -> bool:
        return await mesh.pid(name) not in (None, pid)

    await eventually(is_replaced, 60, f"another {name}")


async def test_login_brings_a_session_of_the_same_player(running: Mesh, player: Client) -> None:
    name = (await player.update("win-round")).username
    async with connected(running) as other:
        session = await other.login(name, PASSWORD)
        assert (other.user_id, session.token_type) == (player.user_id, "Bearer")
        with pytest.raises(ScoreboardError) as refused:
            await other.login(name, "wrong " + PASSWORD)
        assert refused.value.reason == "BAD_CREDENTIALS"
        assert (await other.update("win-round")).new_score == 100


async def test_a_session_that_was_kept_renews_itself_when_its_token_is_over(running: Mesh, player: Client) -> None:
    kept = auth_pb2.Session()
    kept.CopyFrom(player.session)
    kept.server_time -= 1000 * kept.expires_in
    async with connected(running) as later:
        later.resume(kept)
        both = await asyncio.gather(later.update("win-round"), later.update("collect-coin"))
        assert max(update.new_score for update in both) == 51
        assert later.session.access_token != kept.access_token
        assert later.session.refresh_token != kept.refresh_token
        assert later.session.signing_key == kept.signing_key


async def test_a_lost_answer_to_a_refresh_costs_no_session(running: Mesh, player: Client) -> None:
    kept = auth_pb2.Session()
    kept.CopyFrom(player.session)
    first = await player.refresh()
    async with connected(running) as again:
        again.resume(kept)
        assert (await again.refresh()).refresh_token == first.refresh_token
        assert (await again.update("win-round")).new_score == 50


async def test_an_update_repeated_with_its_nonce_counts_once(player: Client) -> None:
    nonce = player.nonce()
    first = await player.update("win-round", nonce=nonce)
    again = await player.update("win-round", nonce=nonce)
    assert again == first
    assert await player.get_update(first.update_id) == first
    assert (await player.rank()).score == 50


async def test_an_update_whose_service_was_killed_counts_once(running: Mesh, player: Client) -> None:
    nonce = player.nonce()
    await player.update("win-round", nonce=nonce)
    await kill(running, "score_svc")

    async def answer() -> float | None:
        try:
            return (await player.update("win-round", nonce=nonce)).new_score
        except ScoreboardError as error:
            if error.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            return None

    assert await eventually(answer, 60, "an answer of the new score_svc") == 50
    assert (await player.update("collect-coin")).new_score == 51


async def test_a_watch_comes_back_when_its_service_was_killed(running: Mesh, player: Client) -> None:
    async with asyncio.timeout(120 * SCALE), aclosing(player.watch(limit=100)) as frames:
        before = await anext(frames)
        await kill(running, "stream_svc")
        score = (await player.update("daily-bonus")).new_score
        async for frame in frames:
            assert not frame.heartbeat
            assert frame.version >= before.version
            if score in [row.score for row in frame.leaderboard if row.user_id == player.user_id]:
                break


async def test_a_watch_of_no_board_says_so_instead_of_coming_back(player: Client) -> None:
    with pytest.raises(ScoreboardError) as refused:
        await anext(player.watch(board="no-such-board"))
    assert refused.value.reason == "UNKNOWN_BOARD"


async def test_nothing_counts_after_a_logout(running: Mesh, player: Client) -> None:
    async with connected(running) as elsewhere:
        elsewhere.resume(player.session)
        await elsewhere.update("win-round")
        await player.logout()
        with pytest.raises(ScoreboardError) as refused:
            await elsewhere.update("win-round")
        assert refused.value.reason == "SESSION_REVOKED"
    with pytest.raises(RuntimeError, match="not logged in"):
        await player.update("win-round")
