"""score_svc on real servers with real workers behind it, and players and clients that hold tokens of a test's own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import grpc
import jwt
import pytest
import redis.asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from board import queues
from board.update_id import derive_update_id
from mesh.keys import MasterKeys, b64url
from scoreboard.client import ScoreboardError, to_error
from scoreboard.local import database as databases
from scoreboard.v1 import score_pb2 as pb
from scoreboard.v1 import score_pb2_grpc, signing
from tests import servers
from tests.servers import Database, PostgresServer, RabbitmqServer, RedisServer, Vhost
from tests.services import serving
from tests.waiting import SCALE
from tests.workers import Bench

ISSUER, AUDIENCE, KID = "http://gateway.test", "scoreboard", "k1"
SCOPE = "update:score read:leaderboard"
CALL_TIMEOUT_S = 10.0 * SCALE
PATIENT_S = 6.0  # of a service that no test is to find late: on a busy machine the usual 2 s may be over

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Issuer:
    """What auth_svc would be: signs tokens, publishes the key, knows the master keys."""

    url: str
    keys: MasterKeys
    private: ec.EllipticCurvePrivateKey

    def token(self, subject: str, *, sid: str = "", role: str = "player", scope: str = SCOPE, life_s: int = 600) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "sid": sid,
            "skid": self.keys.current if sid else 0,
            "scope": scope,
            "role": role,
            "iat": now,
            "exp": now + life_s,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self.private, "ES256", headers={"typ": "at+jwt", "kid": KID})


@dataclass
class Player:
    """A player with a session."""

    user_id: str
    sid: str
    token: str
    key: bytes

    @property
    def bearer(self) -> Metadata:
        return (("authorization", f"Bearer {self.token}"),)

    def signed(self, action_id: str, nonce: str, user_id: str | None = None) -> Metadata:
        payload = signing.update_payload(user_id or self.user_id, action_id, nonce)
        return (*self.bearer, ("x-signature", signing.sign(self.key, payload)))


@dataclass
class Scoring:
    """The service under test. `bench` is its database, Redis, vhost and workers."""

    bench: Bench
    issuer: Issuer
    environment: dict[str, str]
    folder: Path
    target: str = ""
    stub: Any = None
    _names: Iterable[int] = field(default_factory=lambda: iter(range(1, 10**9)))

    async def player(self, *, is_known: bool = True) -> Player:
        """Makes a player with a session."""
        user_id = f"u_{secrets.token_hex(6)}"
        if is_known:
            await self.bench.pool.execute(
                "INSERT INTO users (user_id, username) VALUES ($1, $2)", user_id, f"Name of {user_id}"
            )
        return self.session(user_id)

    def session(self, user_id: str) -> Player:
        """Gives a player another session."""
        sid = str(uuid4())
        key = self.issuer.keys.signing_key(self.issuer.keys.current, sid)
        return Player(user_id, sid, self.issuer.token(user_id, sid=sid), key)

    async def client(self, *, actions: list[str] | None = None, rate: int = 100_000) -> Player:
        """Makes a trusted client; it has no session."""
        client_id = f"server-{secrets.token_hex(6)}"
        await self.bench.pool.execute(
            "INSERT INTO clients (client_id, secret_hash, role, actions, updates_per_second)"
            " VALUES ($1, '-', 4, $2, $3)",
            client_id,
            actions,
            rate,
        )
        return Player(client_id, "", self.issuer.token(client_id, role="game_server", scope="update:score"), b"")

    async def update(
        self,
        player: Player,
        action_id: str = "win-round",
        nonce: str | None = None,
        *,
        stub: Any = None,
        **fields: Any,
    ) -> pb.UpdateScoreResponse:
        """Sends a signed update, by default to `self.stub`. Raises ScoreboardError."""
        text = nonce or new_nonce()
        request = pb.UpdateScoreRequest(user_id=player.user_id, action_id=action_id, nonce=text, **fields)
        return await self.send(request, player.signed(action_id, text), stub)

    async def send(
        self, request: pb.UpdateScoreRequest, metadata: Metadata, stub: Any = None
    ) -> pb.UpdateScoreResponse:
        """Sends any update with any metadata, by default to `self.stub`. Raises ScoreboardError."""
        call = (stub or self.stub).UpdateScore(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
        return await answered(call)

    async def issue(self, player: Player, action_id: str = "win-round", **fields: Any) -> pb.IssueNonceResponse:
        """Asks for nonces. Raises ScoreboardError."""
        request = pb.IssueNonceRequest(action_id=action_id, **fields)
        return await answered(self.stub.IssueNonce(request, metadata=player.bearer, timeout=CALL_TIMEOUT_S))

    async def batch(self, client: Player, *updates: pb.UpdateScoreRequest) -> list[pb.UpdateScoreResponse]:
        """Sends a batch. Raises ScoreboardError."""
        request = pb.UpdateScoresRequest(updates=updates)
        response = await answered(self.stub.UpdateScores(request, metadata=client.bearer, timeout=CALL_TIMEOUT_S))
        return list(response.results)

    async def look_up(self, player: Player, update_id: str) -> pb.UpdateScoreResponse:
        """Asks for an update's outcome. Raises ScoreboardError."""
        request = pb.GetUpdateRequest(update_id=update_id)
        return await answered(self.stub.GetUpdate(request, metadata=player.bearer, timeout=CALL_TIMEOUT_S))

    async def refusal(self, call: Awaitable[object]) -> str:
        """Returns the reason that a call is refused with; fails when it is not."""
        return (await refused(call)).reason

    async def queued_messages(self) -> int:
        """Returns how many messages wait in the queue of updates, by the broker's own count."""
        channel = await self.bench.owner.open_channel()
        try:
            return await channel.count_ready(queues.UPDATES)
        finally:
            channel.close()

    async def rows(self, player: Player) -> list[Any]:
        """Returns the player's ledger rows."""
        return await self.bench.pool.fetch(
            "SELECT l.* FROM score_logs l JOIN users u ON u.id = l.user_ref WHERE u.user_id = $1 ORDER BY l.id",
            player.user_id,
        )

    @asynccontextmanager
    async def service(self, **settings: object) -> AsyncIterator[Any]:
        """Runs a score_svc more and yields its stub."""
        environment = self.environment | {f"SCOREBOARD_{name.upper()}": str(value) for name, value in settings.items()}
        async with (
            serving("score_svc", "scoreboard.v1.ScoreService", "SCOREBOARD_SCORE_PORT", environment, self.folder) as (
                _,
                port,
            ),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            self.target = f"127.0.0.1:{port}"
            yield score_pb2_grpc.ScoreServiceStub(channel)


def new_nonce(age_s: float = 0.0) -> str:
    """Returns a client's nonce that was made so many seconds ago."""
    return signing.client_nonce(int((time.time() - age_s) * 1000), os.urandom(10))


def nonce_time_ms(nonce: str) -> int:
    """Returns the milliseconds that a client's nonce carries."""
    from score_svc.nonce import parse

    return parse(nonce).time_ms


def update_id_of(player: Player, nonce: str, reporter: str = "") -> UUID:
    """Returns the key that an update of this nonce has."""
    return derive_update_id(nonce_time_ms(nonce), reporter=reporter, user_id=player.user_id, nonce=nonce)


async def answered(call: Awaitable[T]) -> T:
    """Returns the answer. Raises ScoreboardError."""
    try:
        return await call
    except grpc.aio.AioRpcError as e:
        raise to_error(e) from None


async def refused(call: Awaitable[object]) -> ScoreboardError:
    """Returns the refusal that a call ends with; fails when it is answered."""
    try:
        answer = await call
    except ScoreboardError as e:
        return e
    raise AssertionError(f"not refused: {answer}")


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """Yields an issuer whose key is published over HTTP."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = {**ECAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": KID, "use": "sig", "alg": "ES256"}

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response({"keys": [public]})

    app = web.Application()
    app.router.add_get("/jwks", jwks)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    keys = MasterKeys(1, {1: secrets.token_bytes(32)})
    try:
        yield Issuer(f"http://127.0.0.1:{runner.addresses[0][1]}/jwks", keys, private)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def scoring(
    database: Database,
    view: RedisServer,
    vhost: Vhost,
    folder: Path,
    *,
    workers: int = 1,
    **settings: object,
) -> AsyncIterator[Scoring]:
    """Yields a score_svc with so many workers. `settings` as `score_answer_budget_s=1`; no rate limit by default."""
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(issuing())
        bench = await stack.enter_async_context(Bench(database, view, vhost, folder).opened())
        keys_file = folder / "master-keys.json"
        keys = {str(number): b64url(key) for number, key in issuer.keys.keys.items()}
        keys_file.write_text(json.dumps({"current": issuer.keys.current, "keys": keys}))
        environment = {
            "SCOREBOARD_POSTGRES_URL": database.url("score_svc"),
            "SCOREBOARD_REDIS_URL": view.url("score_svc"),
            "SCOREBOARD_RABBITMQ_URL": vhost.url("score_svc"),
            "SCOREBOARD_JWKS_URL": issuer.url,
            "SCOREBOARD_ISSUER": ISSUER,
            "SCOREBOARD_AUDIENCE": AUDIENCE,
            "SCOREBOARD_MASTER_KEYS_FILE": str(keys_file),
            "SCOREBOARD_UPDATES_PER_MINUTE": "0",
        } | {f"SCOREBOARD_{name.upper()}": str(value) for name, value in settings.items()}
        world = Scoring(bench, issuer, environment, folder)
        await stack.enter_async_context(bench.workers(workers))
        world.stub = await stack.enter_async_context(world.service())
        yield world


@asynccontextmanager
async def own_database(postgres: PostgresServer, template: str) -> AsyncIterator[Database]:
    """Yields a database for a whole module of tests."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(databases.make_database, postgres.url(), name, template)
    try:
        yield Database(postgres, name)
    finally:
        await asyncio.to_thread(databases.drop_database, postgres.url(), name)


@asynccontextmanager
async def own_part(
    postgres: PostgresServer, template: str, rabbitmq: RabbitmqServer
) -> AsyncIterator[tuple[Database, Vhost]]:
    """Yields a database and a vhost for a whole module of tests."""
    async with own_database(postgres, template) as database:
        vhost = await servers.make_vhost(rabbitmq)
        try:
            yield database, vhost
        finally:
            await servers.delete_vhost(vhost)


def module_world() -> Any:
    """Returns a fixture: one service for all tests of a module, on an empty Redis; each has players of its own."""

    @pytest.fixture(scope="module")
    async def world(
        postgres_server: PostgresServer,
        template_database: str,
        rabbitmq_server: RabbitmqServer,
        redis_server: RedisServer,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> AsyncIterator[Scoring]:
        folder = tmp_path_factory.mktemp("scoring")
        flusher = redis.asyncio.Redis.from_url(redis_server.url())
        async with own_part(postgres_server, template_database, rabbitmq_server) as (database, vhost):
            await flusher.flushall()
            async with scoring(database, redis_server, vhost, folder, score_answer_budget_s=PATIENT_S) as made:
                yield made
            await flusher.flushall()
            await flusher.aclose()

    return world
