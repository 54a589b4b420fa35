"""A deployment whose keys a test may replace, and players who play on meanwhile, through the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import jwt

from auth_svc.rotation import JWKS_CACHE_S
from mesh.keys import MasterKeys, b64url, b64url_decode
from scoreboard.client import ScoreboardError
from scoreboard.local import gateway
from scoreboard.local import servers as local_servers
from scoreboard.local.ports import Ports
from scoreboard.v1 import auth_pb2, auth_pb2_grpc, score_pb2, score_pb2_grpc, signing
from tests import servers, services
from tests.fault.process import Process
from tests.fault.timeline import Timeline
from tests.hop import HOP
from tests.scoring import answered, new_nonce, refused
from tests.servers import Database, RedisServer, Vhost
from tests.waiting import SCALE, eventually
from tests.workers import Bench

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]
PASSWORD = "correct horse battery staple"
NO_LIMIT = 100_000
CALL_TIMEOUT_S = 10.0 * SCALE
PATIENCE_S = 30.0 * SCALE
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# The gateway's own time would make each rotation a minute longer. That a key is published for long enough before it
# signs is shown for years of rotations by tests/unit/test_auth_rotation.py.
CACHE_S = 1


@dataclass
class Deployment:
    """The gateway, auth_svc, score_svc and a worker. `scores` and `auth` go through the gateway, `straight` past it."""

    keys_file: Path
    bench: Bench
    auth: Any
    scores: Any
    straight: Any
    processes: dict[str, Process]
    timeline: Timeline

    def master_keys(self) -> MasterKeys:
        """Returns the keys of the file."""
        return MasterKeys.load(self.keys_file)

    async def roll_out(self, current: int, keys: dict[int, bytes]) -> None:
        """Gives both services another file of master keys, which they read when they start."""
        write_keys(self.keys_file, MasterKeys(current, keys))
        await asyncio.gather(*(_restart(process) for process in self.processes.values()))

    async def refresh_keys(self) -> None:
        """Makes score_svc read the published keys, as it does every 30 s by itself: by a token of an unknown one."""
        head = {"alg": "ES256", "typ": "at+jwt", "kid": secrets.token_hex(8)}
        token = f"{b64url(json.dumps(head).encode())}.e30.{b64url(os.urandom(64))}"
        assert await self._reason(token, self.straight) == "TOKEN_INVALID"

    async def is_taken(self, token: str) -> bool:
        """Tells whether both the gateway and the service take an access token."""
        reasons = {await self._reason(token, stub) for stub in (self.scores, self.straight)}
        assert reasons <= {"NOT_FOUND", "TOKEN_INVALID"}
        return reasons == {"NOT_FOUND"}

    async def is_refused(self, token: str) -> bool:
        """Tells whether both the gateway and the service refuse an access token."""
        return {await self._reason(token, stub) for stub in (self.scores, self.straight)} == {"TOKEN_INVALID"}

    async def _reason(self, token: str, stub: Any) -> str:
        # Of an update that nobody sent: with a good token it is not found.
        request = score_pb2.GetUpdateRequest(update_id=str(uuid.uuid4()))
        metadata = (("authorization", f"Bearer {token}"),)

        async def reason() -> str:
            error = await refused(answered(stub.GetUpdate(request, metadata=metadata, timeout=CALL_TIMEOUT_S)))
            return "" if error.code in PASSING else error.reason

        return await eventually(reason, what="an answer about a token")


async def _restart(process: Process) -> None:
    await process.stop()
    await process.start()


@dataclass
class Player:
    """Plays on while keys change, and repeats what is safe to repeat. `refusals`: what no valid token should meet."""

    deployment: Deployment
    name: str
    session: auth_pb2.Session = field(default_factory=auth_pb2.Session)
    taken: list[str] = field(default_factory=list)  # update ids
    refusals: list[str] = field(default_factory=list)
    is_over: bool = False
    wants_login: bool = False

    @property
    def kid(self) -> str:
        """The key that signed the access token."""
        return str(jwt.get_unverified_header(self.session.access_token)["kid"])

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of the access token."""
        claims: dict[str, Any] = jwt.decode(self.session.access_token, options={"verify_signature": False})
        return claims

    async def register(self) -> None:
        """Makes the account and the first session."""
        request = auth_pb2.RegisterRequest(username=self.name, password=PASSWORD)
        self.session = await self.repeat(self.deployment.auth.Register, request)

    async def play(self) -> None:
        """Refreshes the token, sends updates of both forms of nonces, and logs in anew when told to."""
        while not self.is_over:
            try:
                if self.wants_login:
                    request = auth_pb2.LoginRequest(username=self.name, password=PASSWORD)
                    self.session = await self.repeat(self.deployment.auth.Login, request)
                    self.wants_login = False
                await self._refresh()
                for nonce in (new_nonce(), await self.issue()):
                    update = signed_update(self.session, nonce)
                    self.taken.append((await self.repeat(self.deployment.scores.UpdateScore, *update)).update_id)
            except ScoreboardError as error:
                self.refusals.append(f"{error.reason}: {error.message}")

    async def issue(self) -> str:
        """Returns a nonce that score_svc sealed."""
        request = score_pb2.IssueNonceRequest(action_id="win-round")
        return str((await self.repeat(self.deployment.scores.IssueNonce, request, bearer(self.session))).nonce)

    async def _refresh(self) -> None:
        token = self.session.refresh_token
        # Signed, so that the repeat of one whose answer was lost gets the same answer.
        signed = (("x-signature", _sign(self.session, signing.refresh_payload(token))),)
        request = auth_pb2.RefreshRequest(refresh_token=token)
        self.session = await self.repeat(self.deployment.auth.Refresh, request, signed)

    async def repeat(self, rpc: Callable[..., Awaitable[T]], request: object, metadata: Metadata = ()) -> T:
        """Makes a call again while it is answered UNAVAILABLE, or not in time. Raises ScoreboardError."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await answered(rpc(request, metadata=metadata, timeout=CALL_TIMEOUT_S))
            except ScoreboardError as error:
                if error.code not in PASSING or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.05)


@asynccontextmanager
async def playing(players: list[Player]) -> AsyncIterator[None]:
    """The players play until the end of the block."""
    async with asyncio.TaskGroup() as tasks:
        for player in players:
            tasks.create_task(player.play(), name=player.name)
        try:
            yield
        finally:
            for player in players:
                player.is_over = True


def bearer(session: auth_pb2.Session) -> Metadata:
    """Returns the metadata of a call with the session's access token."""
    return (("authorization", f"Bearer {session.access_token}"),)


def signed_update(session: auth_pb2.Session, nonce: str) -> tuple[score_pb2.UpdateScoreRequest, Metadata]:
    """Returns the request and the metadata of an update."""
    request = score_pb2.UpdateScoreRequest(user_id=session.user_id, action_id="win-round", nonce=nonce)
    payload = signing.update_payload(session.user_id, "win-round", nonce)
    return request, (*bearer(session), ("x-signature", _sign(session, payload)))


def _sign(session: auth_pb2.Session, payload: bytes) -> str:
    return signing.sign(b64url_decode(session.signing_key), payload)


def write_keys(keys_file: Path, keys: MasterKeys) -> None:
    """Writes the file that docs/wiring.md describes."""
    texts = {str(number): b64url(key) for number, key in keys.keys.items()}
    keys_file.write_text(json.dumps({"current": keys.current, "keys": texts}))


@asynccontextmanager
async def deployed(
    bench: Bench, database: Database, view: RedisServer, vhost: Vhost, folder: Path
) -> AsyncIterator[Deployment]:
    """Yields a deployment on the bench's servers, with workers of the caller's. folder: one that Envoy may read."""
    ports, keys_file, timeline = Ports(), folder / "master-keys.json", Timeline()
    write_keys(keys_file, MasterKeys(1, {1: os.urandom(32)}))
    asked = [f"{name}{suffix}" for name in ("auth_svc", "score_svc") for suffix in ("", "-gateway")]
    numbers = {name: ports.take(name) for name in ("gateway", "envoy-admin", "auth_svc-http", *asked)}
    for suffix in ("", "-gateway"):  # nobody asks these here
        unasked = (f"leaderboard_svc{suffix}", f"stream_svc{suffix}", "stream_svc-http")
        numbers |= dict.fromkeys(unasked, numbers[f"score_svc{suffix}"])
    environment = {
        "SCOREBOARD_ISSUER": f"http://127.0.0.1:{numbers['gateway']}",
        "SCOREBOARD_JWKS_URL": f"http://127.0.0.1:{numbers['auth_svc-http']}/.well-known/jwks.json",
        "SCOREBOARD_MASTER_KEYS_FILE": str(keys_file),
        "SCOREBOARD_AUTH_HTTP_PORT": str(numbers["auth_svc-http"]),
        "SCOREBOARD_LOGINS_PER_MINUTE": str(NO_LIMIT),
        "SCOREBOARD_UPDATES_PER_MINUTE": "0",
    }
    text = gateway.render(numbers, NO_LIMIT, NO_LIMIT, hop=HOP)
    shown_for = f"cache_duration: {JWKS_CACHE_S}s"
    assert text.count(shown_for) == 1
    text = text.replace(shown_for, f"cache_duration: {CACHE_S}s")
    processes: dict[str, Process] = {}
    async with AsyncExitStack() as stack:
        for name, service in (("auth_svc", "Auth"), ("score_svc", "Score")):
            urls = {
                "SCOREBOARD_POSTGRES_URL": database.url(name),
                "SCOREBOARD_REDIS_URL": view.url(name),
                "SCOREBOARD_RABBITMQ_URL": vhost.url(name),
                f"SCOREBOARD_{service.upper()}_GATEWAY_PORT": str(numbers[f"{name}-gateway"]),
            }
            setting, health_name = f"SCOREBOARD_{service.upper()}_PORT", f"scoreboard.v1.{service}Service"
            program = services.program(name, health_name, setting, numbers[name], environment | urls)
            ports.release(f"{name}-http")
            ports.release(f"{name}-gateway")
            processes[name] = Process(await servers.run(program, ports, folder), timeline)
            stack.push_async_callback(processes[name].end)
        ports.release("envoy-admin")
        envoy = local_servers.envoy(folder, text, numbers["gateway"], numbers["envoy-admin"])
        ports.release("gateway")
        front = await servers.run(envoy, ports, folder)
        stack.push_async_callback(front.kill)
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{numbers[name]}") for name in ("gateway", "score_svc")]
        through, past = [await stack.enter_async_context(channel) for channel in channels]
        scores, straight = score_pb2_grpc.ScoreServiceStub(through), score_pb2_grpc.ScoreServiceStub(past)
        auth = auth_pb2_grpc.AuthServiceStub(through)
        yield Deployment(keys_file, bench, auth, scores, straight, processes, timeline)
