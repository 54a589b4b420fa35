"""Claims nonces in Redis, all that ask at the same time in one pipeline, and keeps results beside the claims.

What a claim means is retry.py's. Holds always: an answer comes within about the client's timeout, Redis away
included (Claim.AWAY), and a claim is stamped by Redis's clock alone.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1, sha256
from importlib import resources
from typing import Any
from uuid import UUID

import redis.asyncio
from google.protobuf.message import DecodeError
from redis.exceptions import NoScriptError, RedisError

from board import keys
from board.job_pb2 import Result
from mesh.redis import AWAY, Breaker
from score_svc import nonce
from score_svc.retry import JUST_LOST_S, Claim

log = logging.getLogger(__name__)

CLAIM_LIFE_S = nonce.LIFE_MS // 1000 + 300  # so that whoever retries until the nonce ends meets his claim
PIPELINE_MAX = 500  # commands; a larger one would keep the others' answers waiting


@dataclass(frozen=True, slots=True)
class Asked:
    """One nonce that is to be claimed."""

    update_id: UUID
    user_id: str
    action_id: str
    nonce: str
    by: str
    rate_key: str
    limit: int
    window_ms: int
    #: Session whose denial refuses the claim; empty for trusted clients.
    session_id: str = ""

    def digest(self) -> bytes:
        """What tells a retry from another use of the nonce: never signature, token or session."""
        return sha256(f"{self.user_id}\n{self.action_id}\n{self.nonce}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What Redis said. `at_us`: NEW and SEEN. `result`: SEEN, once there is one. `wait_s`: LIMITED."""

    claim: Claim
    at_us: int = 0
    result: Result | None = None
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """A claim as GetUpdate sees it."""

    by: str
    result: Result | None


class _Script:
    """A script that this module runs: its text, and the hash that Redis knows it by."""

    def __init__(self, name: str) -> None:
        self.text = resources.files(__package__).joinpath(name).read_text()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_ACCEPT = _Script("accept.lua")
_SETTLE = _Script("settle.lua")
_ANSWERED_AWAY = Answer(Claim.AWAY)


class Acceptor:
    """Claims nonces. One a process."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._redis = client
        self._breaker = Breaker()
        self._waiting: list[tuple[tuple[object, ...], asyncio.Future[Answer]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._failed_at = float("-inf")  # monotonic
        self._settling: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    @property
    def is_just_lost(self) -> bool:
        """Whether Redis failed a moment ago, so that claims may be missing."""
        return time.monotonic() - self._failed_at < JUST_LOST_S

    def ask(self, asked: Asked, *, look: bool) -> "asyncio.Future[Answer]":
        """Claims a nonce, or only looks it up. Never fails: without Redis the answer is Claim.AWAY."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        deny = keys.deny(asked.session_id) if asked.session_id else ""
        update_id = str(asked.update_id)
        self._waiting.append(
            (
                (
                    "EVALSHA",
                    _ACCEPT.sha,
                    2,
                    asked.rate_key,
                    keys.claim(asked.update_id),
                    asked.digest(),
                    asked.limit,
                    asked.window_ms,
                    CLAIM_LIFE_S,
                    update_id,
                    asked.by,
                    deny,
                    "1" if look else "0",
                ),
                future,
            )
        )
        # While one pipeline is on its way the next fills: batches grow with load, and no one waits for a timer.
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="accept")
        return future

    async def is_denied(self, session_id: str) -> bool:
        """Tells whether a session was logged out; while Redis is away the token's own life is what holds."""
        if not session_id or self._breaker.is_open:
            return False
        try:
            return bool(await self._redis.exists(keys.deny(session_id)))
        except AWAY:
            self._failed()
            return False

    async def look_up(self, update_id: UUID) -> Held | None:
        """Returns the claim under an id, None without one. Raises a `mesh.redis.AWAY`."""
        answer: list[Any] = await self._redis.hmget(keys.claim(update_id), "by", "result")
        by, result = answer
        return None if by is None else Held(by.decode(), _kept(result))

    def settle(self, results: Sequence[Result]) -> None:
        """Keeps results beside their claims, soon; a loss costs a retry a look into the ledger."""
        if results and not self._breaker.is_open:
            task = asyncio.create_task(self._settle(results), name="settle")
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def close(self) -> None:
        """Waits for what is on its way."""
        tasks = [*self._settling, *([self._flusher] if self._flusher else [])]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, results: Sequence[Result]) -> None:
        claims = [keys.claim(UUID(bytes=result.update_id)) for result in results]
        values = [result.SerializeToString() for result in results]
        try:
            await self._run(_SETTLE, [("EVALSHA", _SETTLE.sha, len(claims), *claims, CLAIM_LIFE_S, *values)])
        except AWAY:
            self._failed()
        except RedisError as e:
            log.warning("Results were not kept", extra={"event": "settle_failed", "error": type(e).__name__})

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:PIPELINE_MAX], self._waiting[PIPELINE_MAX:]
                answers = await self._answers([command for command, _ in batch])
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
        finally:
            self._flusher = None

    async def _answers(self, commands: list[tuple[object, ...]]) -> list[Answer]:
        if self._breaker.is_open:
            return [_ANSWERED_AWAY] * len(commands)
        try:
            replies = await self._run(_ACCEPT, commands)
        except (RedisError, OSError):  # whatever it is, those who wait must hear of it
            self._failed()
            return [_ANSWERED_AWAY] * len(commands)
        self._breaker.worked()
        return [_answer(reply) for reply in replies]

    async def _run(self, script: _Script, commands: list[tuple[object, ...]]) -> list[object]:
        replies = await self._send(commands)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:  # a Redis that was started again knows no scripts
            await self._redis.script_load(script.text)
            for i, reply in zip(missing, await self._send([commands[i] for i in missing]), strict=True):
                replies[i] = reply
        return replies

    async def _send(self, commands: list[tuple[object, ...]]) -> list[object]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[object] = await pipeline.execute(raise_on_error=False)
        return replies

    def _failed(self) -> None:
        if not self._breaker.is_open:
            log.warning("Redis away: updates are accepted without claims", extra={"event": "redis_away"})
        self._breaker.failed()
        self._failed_at = time.monotonic()


def _kept(data: bytes | None) -> Result | None:
    """Returns a result that was kept; one that cannot be read is none, and the ledger has it."""
    try:
        return Result.FromString(data) if data else None
    except DecodeError:
        log.warning("A kept result cannot be read", extra={"event": "result_unreadable"})
        return None


def _answer(reply: Any) -> Answer:
    match reply:
        case [b"NEW", at]:
            return Answer(Claim.NEW, at_us=int(at))
        case [b"SEEN", at, result]:
            return Answer(Claim.SEEN, at_us=int(at), result=_kept(result))
        case [b"LIMITED", wait_us]:
            return Answer(Claim.LIMITED, wait_s=int(wait_us) / 1e6)
        case [b"REUSED"]:
            return Answer(Claim.REUSED)
        case [b"ABSENT"]:
            return Answer(Claim.ABSENT)
        case [b"DENIED"]:
            return Answer(Claim.DENIED)
    # An error of the server's own, such as OOM or READONLY: as good as away, and the ledger decides.
    log.warning("Redis refused a claim", extra={"event": "claim_failed", "error": str(reply)[:200]})
    return _ANSWERED_AWAY
