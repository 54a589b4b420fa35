"""auth_svc as a process on real servers, with the rights of its own roles, and players who sign up and in."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import jwt
import pytest
import redis.asyncio

from mesh.identity import TokenVerifier
from mesh.keys import MasterKeys, b64url, b64url_decode
from scoreboard.client import ScoreboardError, to_error
from scoreboard.local.ports import Ports
from scoreboard.v1 import auth_pb2 as pb
from scoreboard.v1 import auth_pb2_grpc, signing
from tests.servers import Database, RedisServer
from tests.services import serving

HEALTH_NAME = "scoreboard.v1.AuthService"
ISSUER = "http://gateway.test"
PASSWORD = "correct horse battery"
NO_BROKER = "amqp://auth_svc:x@127.0.0.1:1/x"  # who signs up and in does without it
LOGINS_PER_MINUTE = 20
GUESSES_AT_ONCE, GUESS_AGAIN_S = 15, 12.0  # of one account, at that many logins a minute


@dataclass
class World:
    """A running service and its servers; the owner's pool and Redis client look behind it."""

    auth: Any
    http: httpx.AsyncClient
    pool: asyncpg.Pool
    redis: redis.asyncio.Redis
    master_keys: MasterKeys
    log: Path
    database: Database

    async def register(self, name: str) -> pb.Session:
        session: pb.Session = await self.auth.Register(pb.RegisterRequest(username=name, password=PASSWORD))
        return session

    async def guest(self, name: str = "") -> pb.Session:
        session: pb.Session = await self.auth.Guest(pb.GuestRequest(username=name))
        return session

    async def login(self, name: str, password: str = PASSWORD, address: str = "") -> pb.Session:
        request = pb.LoginRequest(username=name, password=password)
        session: pb.Session = await self.auth.Login(request, metadata=coming_from(address))
        return session

    async def change(self, session: pb.Session, address: str = "", **fields: str) -> pb.Profile:
        """UpdateProfile, as the player of the session."""
        metadata = (*bearer(session), *coming_from(address))
        profile: pb.Profile = await self.auth.UpdateProfile(pb.UpdateProfileRequest(**fields), metadata=metadata)
        return profile

    async def erase(self, session: pb.Session, password: str = PASSWORD) -> pb.DeleteAccountResponse:
        """DeleteAccount, as the player of the session."""
        request = pb.DeleteAccountRequest(password=password)
        done: pb.DeleteAccountResponse = await self.auth.DeleteAccount(request, metadata=bearer(session))
        return done

    async def is_denied(self, session: pb.Session) -> bool:
        """Whether services refuse the session's access tokens."""
        return bool(await self.redis.exists(f"sb:deny:{sid_of(session)}"))

    async def refresh(self, token: str, *metadata: tuple[str, str]) -> pb.Session:
        session: pb.Session = await self.auth.Refresh(pb.RefreshRequest(refresh_token=token), metadata=metadata)
        return session

    async def verifier(self) -> TokenVerifier:
        verifier = TokenVerifier(f"{self.http.base_url}/.well-known/jwks.json", ISSUER, "scoreboard")
        await verifier.start()
        return verifier


@asynccontextmanager
async def running(database: Database, view: RedisServer, folder: Path, **settings: object) -> AsyncIterator[World]:
    """Runs auth_svc, without a broker unless `rabbitmq_url` names one; in the same folder again with the same keys."""
    keys_file = folder / "master-keys.json"
    if not keys_file.exists():
        keys_file.write_text(json.dumps({"current": 1, "keys": {"1": b64url(secrets.token_bytes(32))}}))
    http_port = Ports().take("auth_svc-http")
    environment = {
        "SCOREBOARD_POSTGRES_URL": database.url("auth_svc"),
        "SCOREBOARD_REDIS_URL": view.url("auth_svc"),
        "SCOREBOARD_RABBITMQ_URL": NO_BROKER,
        "SCOREBOARD_ISSUER": ISSUER,
        "SCOREBOARD_MASTER_KEYS_FILE": str(keys_file),
        "SCOREBOARD_AUTH_HTTP_PORT": str(http_port),
        "SCOREBOARD_LOGINS_PER_MINUTE": str(LOGINS_PER_MINUTE),
    } | {f"SCOREBOARD_{name.upper()}": str(value) for name, value in settings.items()}
    async with (
        serving("auth_svc", HEALTH_NAME, "SCOREBOARD_AUTH_PORT", environment, folder) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}") as http,
        asyncpg.create_pool(database.url(), min_size=1, max_size=2) as pool,
        redis.asyncio.Redis.from_url(view.url()) as client,
    ):
        stub, log = auth_pb2_grpc.AuthServiceStub(channel), folder / "auth_svc.log"
        yield World(stub, http, pool, client, MasterKeys.load(keys_file), log, database)


def bearer(session: pb.Session) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {session.access_token}"),)


def coming_from(address: str) -> tuple[tuple[str, str], ...]:
    return (("x-forwarded-for", address),) if address else ()


def signature(session: pb.Session, token: str) -> tuple[str, str]:
    return "x-signature", signing.sign(b64url_decode(session.signing_key), signing.refresh_payload(token))


async def outlives_its_tokens(world: World, session: pb.Session) -> bool:
    """Whether the session is refused for as long as its tokens live, and not much longer."""
    left_s = jwt.decode(session.access_token, options={"verify_signature": False})["exp"] - time.time()
    return bool(left_s <= await world.redis.ttl(f"sb:deny:{sid_of(session)}") <= 610)


def sid_of(session: pb.Session) -> str:
    return str(jwt.decode(session.access_token, options={"verify_signature": False})["sid"])


async def guess_until_slowed(guess: Callable[[], Awaitable[object]]) -> None:
    """Guesses one account's password from one address until told to wait: 15 times at once, and once in 12 s more.

    The wait is longer than what a test still has to say from that address.
    """
    began, guesses = time.monotonic(), 0
    while (error := await error_of(guess())).reason != "RATE_LIMITED" or (error.retry_after_s or 0) < 3:
        assert error.reason in ("BAD_CREDENTIALS", "RATE_LIMITED")
        guesses += error.reason == "BAD_CREDENTIALS"
        # A busy machine takes its time to hash.
        assert guesses <= GUESSES_AT_ONCE + (time.monotonic() - began) / GUESS_AGAIN_S
    assert guesses >= GUESSES_AT_ONCE


async def error_of(call: Any) -> ScoreboardError:
    """Await a call that must be refused and return its error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return to_error(caught.value)


async def reason_of(call: Any) -> str:
    """Await a call that must be refused and return its reason."""
    return (await error_of(call)).reason
