"""admin_svc on real servers, with score_svc and workers beside it, and operators who hold tokens of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc

from board.job_pb2 import Job
from mesh.identity import ROLES
from scoreboard.v1 import admin_pb2 as pb
from scoreboard.v1 import admin_pb2_grpc
from tests.scoring import AUDIENCE, CALL_TIMEOUT_S, ISSUER, Metadata, Scoring, answered, refused, scoring
from tests.servers import Database, RedisServer, Vhost
from tests.services import serving
from tests.workers import Bench

CLIENT_SCOPE = "operate:scoreboard"


@dataclass(frozen=True)
class Operator:
    """Someone with a token. name: what ledger and admin log call him."""

    name: str
    sid: str
    bearer: Metadata


@dataclass
class Operating:
    """The service under test, and what it stands on."""

    scoring: Scoring
    environment: dict[str, str]
    folder: Path
    admin: Any = None

    @property
    def bench(self) -> Bench:
        """Its database, Redis, vhost and workers."""
        return self.scoring.bench

    async def operator(self, role: str = "admin") -> Operator:
        """Makes a player of that role, with a session."""
        user_id, sid = f"op_{secrets.token_hex(6)}", uuid4()
        await self.bench.pool.execute(
            "WITH made AS (INSERT INTO users (user_id, username, role) VALUES ($1, $1, $2) RETURNING id)"
            " INSERT INTO sessions (sid, user_ref, master_key_id, expires_at)"
            " SELECT $3, id, 1, now() + interval '1 day' FROM made",
            user_id,
            ROLES.index(role),
            sid,
        )
        return Operator(user_id, str(sid), self._bearer(user_id, sid=str(sid), role=role))

    async def client(self, role: str) -> Operator:
        """Makes a trusted client of that role."""
        client_id = f"client-{secrets.token_hex(6)}"
        await self.bench.pool.execute(
            "INSERT INTO clients (client_id, secret_hash, role) VALUES ($1, '-', $2)", client_id, ROLES.index(role)
        )
        return Operator(client_id, "", self._bearer(client_id, role=role, scope=CLIENT_SCOPE))

    async def player(self) -> str:
        """Makes a player and returns the id."""
        user_id = f"u_{secrets.token_hex(6)}"
        await self.bench.pool.execute(
            "INSERT INTO users (user_id, username, username_key) VALUES ($1, 'Name of ' || $1, 'name of ' || $1)",
            user_id,
        )
        return user_id

    async def play(self, user_id: str, *actions: str) -> list[Job]:
        """Has the worker apply an update of each action, and returns the jobs."""
        jobs = [self.bench.job(user_id, action) for action in actions]
        await self.bench.send(*jobs)
        await self.bench.answers(jobs)
        return jobs

    async def ask(self, operator: Operator | None, method: str, **fields: Any) -> Any:
        """Calls a unary method; `timeout_s` among the fields is its deadline. Raises ScoreboardError."""
        timeout_s = fields.pop("timeout_s", CALL_TIMEOUT_S)
        call = getattr(self.admin, method)
        metadata = operator.bearer if operator else ()
        return await answered(call(_request(method, **fields), metadata=metadata, timeout=timeout_s))

    async def stream(self, operator: Operator | None, method: str, **fields: Any) -> list[Any]:
        """Calls a streaming method and returns all that came. Raises ScoreboardError."""
        call = getattr(self.admin, method)
        metadata = operator.bearer if operator else ()

        async def read() -> list[Any]:
            return [each async for each in call(_request(method, **fields), metadata=metadata, timeout=60)]

        return await answered(read())

    async def refusal(self, call: Awaitable[object]) -> str:
        """Returns the reason that a call is refused with; fails when it is not."""
        return (await refused(call)).reason

    async def log_of(self, operator: Operator) -> list[tuple[str, str, str]]:
        """Returns the operator's lines in the admin log: action, target, reason."""
        rows = await self.bench.pool.fetch(
            "SELECT action, target, reason FROM admin_log WHERE actor = $1 ORDER BY id", operator.name
        )
        return [tuple(row) for row in rows]

    async def ref(self, user_id: str) -> str:
        """Returns a player's inner number, as the admin log names the player."""
        return str(await self.bench.pool.fetchval("SELECT id FROM users WHERE user_id = $1", user_id))

    @asynccontextmanager
    async def service(self, **urls: str) -> AsyncIterator[Any]:
        """Runs an admin_svc more, with other URLs as `redis_url="…"`, and yields its stub."""
        environment = self.environment | {f"SCOREBOARD_{name.upper()}": url for name, url in urls.items()}
        async with (
            serving("admin_svc", "scoreboard.v1.AdminService", "SCOREBOARD_ADMIN_PORT", environment, self.folder) as (
                _,
                port,
            ),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield admin_pb2_grpc.AdminServiceStub(channel)

    def _bearer(self, subject: str, **claims: Any) -> Metadata:
        return (("authorization", f"Bearer {self.scoring.issuer.token(subject, **claims)}"),)


def update_id(job: Job) -> str:
    """Returns a job's key as answers spell it."""
    return str(UUID(bytes=job.update_id))


def _request(method: str, **fields: Any) -> Any:
    return getattr(pb, f"{method}Request")(**fields)


@asynccontextmanager
async def operating(database: Database, view: RedisServer, vhost: Vhost, folder: Path) -> AsyncIterator[Operating]:
    """Yields an admin_svc with a worker and a score_svc."""
    async with scoring(database, view, vhost, folder, score_answer_budget_s=1) as world:
        environment = {
            "SCOREBOARD_POSTGRES_URL": database.url("admin_svc"),
            "SCOREBOARD_REDIS_URL": view.url("admin_svc"),
            "SCOREBOARD_RABBITMQ_URL": vhost.url("admin_svc"),
            "SCOREBOARD_JWKS_URL": world.issuer.url,
            "SCOREBOARD_ISSUER": ISSUER,
            "SCOREBOARD_AUDIENCE": AUDIENCE,
        }
        made = Operating(world, environment, folder)
        async with made.service() as made.admin:
            yield made
