"""auth_svc as a process, over gRPC and HTTP, on a real Postgres and a real Redis, with the rights of its own roles."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import jwt
import pytest
import redis.asyncio

from auth_svc.refresh_token import SIGNED_PREFIX
from mesh.client_secret import new_secret, secret_hash
from mesh.identity import TokenVerifier
from mesh.keys import MasterKeys, b64url, b64url_decode
from mesh.refusal import Refused
from scoreboard.client import to_error
from scoreboard.local.ports import Ports
from scoreboard.v1 import auth_pb2 as pb
from scoreboard.v1 import auth_pb2_grpc
from tests.servers import Database, RedisServer
from tests.services import serving
from tests.waiting import eventually

ISSUER = "http://gateway.test"
PASSWORD = "correct horse battery"
LOGINS_PER_MINUTE = 20


@dataclass
class World:
    """A running service and its servers; the owner's pool and Redis client look behind it."""

    auth: Any
    http: httpx.AsyncClient
    pool: asyncpg.Pool
    redis: redis.asyncio.Redis
    master_keys: MasterKeys
    log: Path

    async def register(self, name: str) -> pb.Session:
        return await self.auth.Register(pb.RegisterRequest(username=name, password=PASSWORD))

    async def refresh(self, token: str, *metadata: tuple[str, str]) -> pb.Session:
        return await self.auth.Refresh(pb.RefreshRequest(refresh_token=token), metadata=metadata)

    async def verifier(self) -> TokenVerifier:
        verifier = TokenVerifier(f"{self.http.base_url}/.well-known/jwks.json", ISSUER, "scoreboard")
        await verifier.start()
        return verifier


@pytest.fixture
async def world(database: Database, redis_view: RedisServer, tmp_path: Path) -> AsyncIterator[World]:
    keys_file = tmp_path / "master-keys.json"
    keys_file.write_text(json.dumps({"current": 1, "keys": {"1": b64url(secrets.token_bytes(32))}}))
    http_port = Ports().take("auth_svc-http")
    environment = {
        "SCOREBOARD_POSTGRES_URL": database.url("auth_svc"),
        "SCOREBOARD_REDIS_URL": redis_view.url("auth_svc"),
        "SCOREBOARD_ISSUER": ISSUER,
        "SCOREBOARD_MASTER_KEYS_FILE": str(keys_file),
        "SCOREBOARD_AUTH_HTTP_PORT": str(http_port),
        "SCOREBOARD_LOGINS_PER_MINUTE": str(LOGINS_PER_MINUTE),
        "SCOREBOARD_DRAIN_S": "0",
    }
    async with (
        serving("auth_svc", "scoreboard.v1.AuthService", "SCOREBOARD_AUTH_PORT", environment, tmp_path) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}") as http,
        asyncpg.create_pool(database.url(), min_size=1, max_size=2) as pool,
        redis.asyncio.Redis.from_url(redis_view.url()) as client,
    ):
        stub = auth_pb2_grpc.AuthServiceStub(channel)
        yield World(stub, http, pool, client, MasterKeys.load(keys_file), tmp_path / "auth_svc.log")


def signature(session: pb.Session, token: str) -> tuple[str, str]:
    import hmac

    key = b64url_decode(session.signing_key)
    return "x-signature", b64url(hmac.digest(key, f"{SIGNED_PREFIX}{token}".encode(), "sha256"))


async def reason_of(call: Any) -> str:
    """Await a call that must be refused and return its reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return str(to_error(caught.value).reason)


async def test_a_registered_player_gets_a_token_that_services_accept(world: World) -> None:
    session = await world.register("Ada")
    verifier = await world.verifier()
    identity = await verifier.verify(f"Bearer {session.access_token}")
    await verifier.close()
    assert identity.subject == session.user_id
    assert identity.scopes == {"update:score", "read:leaderboard"}
    assert identity.role == "player"
    assert jwt.get_unverified_header(session.access_token)["typ"] == "at+jwt"
    signing_key = world.master_keys.signing_key(identity.master_key_id, identity.session_id)
    assert b64url_decode(session.signing_key) == signing_key
    assert (session.token_type, session.expires_in) == ("Bearer", 600)
