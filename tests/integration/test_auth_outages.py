"""auth_svc while a server that it needs is away, and beside a second instance of itself."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import jwt
import pytest
import redis.asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auth_svc import store
from auth_svc.deny import FILLED, DenyList
from auth_svc.store import Store
from board import keys
from mesh.keys import b64url
from mesh.postgres import create_pool
from mesh.reasons import Reason
from mesh.redis import connect
from mesh.refusal import Refused
from mesh.tasks import end
from scoreboard.client import ScoreboardError, to_error
from scoreboard.local.ports import Ports
from scoreboard.v1 import auth_pb2 as pb
from scoreboard.v1 import auth_pb2_grpc
from tests.gate import gate_to
from tests.servers import Database, RedisServer
from tests.services import serving
from tests.waiting import SCALE, eventually

PASSWORD = "correct horse battery"
NO_BROKER = "amqp://auth_svc:x@127.0.0.1:1/x"  # who signs up and in does without it
ACCOUNT_BURST = 3  # with four logins a minute one of them may go to one account, three at once


@dataclass
class Instance:
    """One running auth_svc."""

    auth: Any
    health: Any
    http: httpx.AsyncClient

    async def is_ready(self) -> bool:
        request = health_pb2.HealthCheckRequest(service="scoreboard.v1.AuthService")
        answer = await self.health.Check(request)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def kids(self) -> list[str]:
        keys = (await self.http.get("/.well-known/jwks.json")).json()["keys"]
        return [key["kid"] for key in keys]

    async def refusal(self, username: str, password: str = PASSWORD) -> ScoreboardError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.auth.Login(pb.LoginRequest(username=username, password=password))
        return to_error(caught.value)


@pytest.fixture
def master_keys(tmp_path: Path) -> Path:
    path = tmp_path / "master-keys.json"
    path.write_text(json.dumps({"current": 1, "keys": {"1": b64url(secrets.token_bytes(32))}}))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two instances' own folders."""
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        folder.mkdir()
    return made


@asynccontextmanager
async def instance(postgres_url: str, redis_url: str, master_keys: Path, folder: Path) -> AsyncIterator[Instance]:
    http_port = Ports().take("auth_svc-http")
    environment: Mapping[str, str] = {
        "SCOREBOARD_POSTGRES_URL": postgres_url,
        "SCOREBOARD_REDIS_URL": redis_url,
        "SCOREBOARD_RABBITMQ_URL": NO_BROKER,
        "SCOREBOARD_ISSUER": "http://gateway.test",
        "SCOREBOARD_MASTER_KEYS_FILE": str(master_keys),
        "SCOREBOARD_AUTH_HTTP_PORT": str(http_port),
        "SCOREBOARD_LOGINS_PER_MINUTE": "4",
    }
    async with (
        serving("auth_svc", "scoreboard.v1.AuthService", "SCOREBOARD_AUTH_PORT", environment, folder) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}") as http,
    ):
        yield Instance(auth_pb2_grpc.AuthServiceStub(channel), health_pb2_grpc.HealthStub(channel), http)


async def test_without_redis_players_come_and_go_and_guessing_is_still_slowed(
    database: Database, redis_view: RedisServer, master_keys: Path, tmp_path: Path
) -> None:
    async with (
        gate_to(redis_view.port) as gate,
        instance(database.url("auth_svc"), gate.url(redis_view.url("auth_svc")), master_keys, tmp_path) as one,
        redis.asyncio.Redis.from_url(redis_view.url()) as client,
    ):
        await one.auth.Register(pb.RegisterRequest(username="ada", password=PASSWORD))
        await gate.shut()
        session = await one.auth.Login(pb.LoginRequest(username="ada", password=PASSWORD))
        answers = [await one.refusal("ada", "a wrong password") for _ in range(ACCOUNT_BURST + 1)]
        assert [answer.reason for answer in answers] == ["BAD_CREDENTIALS"] * ACCOUNT_BURST + ["RATE_LIMITED"]
        assert answers[-1].retry_after_s is not None
        sid = jwt.decode(session.access_token, options={"verify_signature": False})["sid"]
        assert (await one.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token))).success
        assert await one.is_ready()
        assert not await client.exists(f"sb:deny:{sid}")
        await gate.open()
        assert await eventually(lambda: client.exists(f"sb:deny:{sid}"), what="the logout's way into the deny-list")


async def test_with_a_full_redis_players_come_and_go_and_the_deny_list_is_filled_later(
    database: Database, redis_view: RedisServer, master_keys: Path, tmp_path: Path
) -> None:
    async with (
        redis.asyncio.Redis.from_url(redis_view.url()) as client,
        instance(database.url("auth_svc"), redis_view.url("auth_svc"), master_keys, tmp_path) as one,
    ):
        await one.auth.Register(pb.RegisterRequest(username="edda", password=PASSWORD))
        await client.flushall()  # the keeper has to write while nothing can be written
        await client.config_set("maxmemory", 1)
        try:
            session = await one.auth.Login(pb.LoginRequest(username="edda", password=PASSWORD))
            sid = jwt.decode(session.access_token, options={"verify_signature": False})["sid"]
            assert (await one.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token))).success

            def has_failed() -> bool:
                return any("deny_list_away" in log.read_text() for log in tmp_path.rglob("*.log"))

            await eventually(has_failed, what="a check of the deny-list that meets the full Redis")
        finally:
            await client.config_set("maxmemory", 0)
        assert await eventually(lambda: client.exists(f"sb:deny:{sid}"), what="the logout's way into the deny-list")


async def test_who_hangs_up_on_a_silent_redis_is_made_up_for(database: Database, redis_view: RedisServer) -> None:
    async with (
        gate_to(redis_view.port) as gate,
        await create_pool(database.url("auth_svc"), name="test", size=1) as pool,
        redis.asyncio.Redis.from_url(redis_view.url()) as owner,
        connect(gate.url(redis_view.url("auth_svc")), timeout_s=10 * SCALE) as client,
    ):
        deny_list, sid = DenyList(client, Store(pool), 600), uuid4()
        await deny_list.start()
        try:
            await eventually(lambda: owner.exists(FILLED), what="a first fill")
            gate.freeze()
            adding = asyncio.create_task(deny_list.add_erased(sid))
            await asyncio.sleep(0)  # it has begun, and waits for Redis
            await end(adding)
            assert adding.cancelled()
            gate.cut()
            await gate.heal()
            await eventually(lambda: owner.exists(keys.deny(str(sid))), what="the session on the list")
        finally:
            await deny_list.close()


async def test_who_waits_too_long_for_a_connection_is_told_so_and_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAIT_S", 0.1)
    async with await create_pool(database.url("auth_svc"), name="test", size=1) as pool:
        players = Store(pool)
        async with pool.acquire():  # as a request does whose statement a frozen Postgres does not answer
            asking = asyncio.create_task(players.add_guest("u_late", "Late"))
            ended, _ = await asyncio.wait({asking}, timeout=5 * SCALE)
        assert ended, "the gateway has given up, and its client asks again"
        with pytest.raises(Refused) as caught:
            await asking
        assert caught.value.reason is Reason.SERVICE_AWAY
        assert await pool.fetchval("SELECT count(*) FROM users") == 0


async def test_a_standby_is_away(database: Database) -> None:
    async with (
        await create_pool(database.url("auth_svc"), name="test", size=1) as pool,
        pool.acquire() as connection,
    ):
        await connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        with pytest.raises(Refused) as caught:
            async with store.answering():
                await connection.execute("UPDATE sessions SET revoked_at = now()")
    assert caught.value.reason is Reason.SERVICE_AWAY


async def test_without_postgres_logins_wait_and_keys_are_still_served(
    database: Database, redis_view: RedisServer, master_keys: Path, tmp_path: Path
) -> None:
    async with (
        gate_to(database.server.port) as gate,
        instance(gate.url(database.url("auth_svc")), redis_view.url("auth_svc"), master_keys, tmp_path) as one,
    ):
        session = await one.auth.Register(pb.RegisterRequest(username="bo", password=PASSWORD))
        await gate.shut()
        refused = await one.refusal("bo")
        assert (refused.reason, refused.code, refused.retry_after_s) == ("SERVICE_AWAY", grpc.StatusCode.UNAVAILABLE, 1)
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
        answer = await one.http.post("/oauth2/token", data=form)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert jwt.get_unverified_header(session.access_token)["kid"] in await one.kids()

        async def is_unready() -> bool:
            return not await one.is_ready()

        await eventually(is_unready)
        await gate.open()
        await eventually(one.is_ready)
        # Nothing was spent while Postgres was away: not the attempts, not the refresh token.
        assert (await one.auth.Login(pb.LoginRequest(username="bo", password=PASSWORD))).user_id == session.user_id
        assert (await one.http.post("/oauth2/token", data=form)).status_code == 200


async def test_instances_that_start_together_sign_with_one_key(
    database: Database, redis_view: RedisServer, master_keys: Path, folders: list[Path]
) -> None:
    async with AsyncExitStack() as stack:
        started = await asyncio.gather(
            *(
                stack.enter_async_context(
                    instance(database.url("auth_svc"), redis_view.url("auth_svc"), master_keys, folder)
                )
                for folder in folders
            )
        )
        one, two = started
        session = await one.auth.Register(pb.RegisterRequest(username="cleo", password=PASSWORD))
        other = await two.auth.Login(pb.LoginRequest(username="CLEO", password=PASSWORD))
        kids = [jwt.get_unverified_header(answer.access_token)["kid"] for answer in (session, other)]
        assert [kids, await one.kids(), await two.kids()] == [kids, kids[:1], kids[1:]]
        assert kids[0] == kids[1]
        # A session that one began goes on at the other.
        assert (await two.auth.Refresh(pb.RefreshRequest(refresh_token=session.refresh_token))).signing_key == (
            session.signing_key
        )


async def test_a_signature_of_any_bytes_is_only_wrong(
    database: Database, redis_view: RedisServer, master_keys: Path, tmp_path: Path
) -> None:
    async with instance(database.url("auth_svc"), redis_view.url("auth_svc"), master_keys, tmp_path) as one:
        session = await one.auth.Register(pb.RegisterRequest(username="dara", password=PASSWORD))
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
        for signature in (b"\xff\xfe", b"x", b"\xc3\xa9" * 43):
            answer = await one.http.post("/oauth2/token", data=form, headers={b"x-signature": signature})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert (await one.http.post("/oauth2/token", data=form)).status_code == 200
