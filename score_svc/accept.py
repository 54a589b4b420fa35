"""Claims nonces in Redis, all that ask at the same time in one round trip, and keeps results beside the claims.

What a claim means is retry.py's. Holds always: an answer comes within about the client's timeout, Redis away
included (Claim.AWAY), and a claim is stamped by Redis's clock alone.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import redis.asyncio
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from board import keys
from board.job_pb2 import Result
from mesh.redis import AWAY, breaker
from mesh.rounds import Rounds
from mesh.scripts import Call, load_script, run_all, run_for
from score_svc import figures, nonce
from score_svc.retry import JUST_LOST_S, Claim

log = logging.getLogger(__name__)

_ACCEPT = load_script(__package__, "accept.lua")
_SETTLE = load_script(__package__, "settle.lua")

CLAIM_LIFE_S = nonce.LIFE_MS // 1000 + 300  # so that whoever retries until the nonce ends meets his claim
ROUND_MAX = 500  # claims; a larger round would keep the others' answers waiting
CALL_MAX = 100  # claims a call of the script, which holds everyone up: about 1 ms


class Asked(NamedTuple):
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

    def redis_keys(self) -> tuple[str, str]:
        """What accept.lua writes for it."""
        return self.rate_key, keys.claim(self.update_id)

    def arguments(self, *, look: bool) -> tuple[bytes | str | int, ...]:
        """What accept.lua is told of it."""
        deny = keys.deny(self.session_id) if self.session_id else ""
        return self.digest(), self.limit, self.window_ms, str(self.update_id), self.by, deny, int(look)


class Answer(NamedTuple):
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


_ANSWERED_AWAY = Answer(Claim.AWAY)


class Acceptor:
    """Claims nonces. One a process."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._redis = client
        self._breaker = breaker()
        self._rounds = Rounds("accept", self._answers, ROUND_MAX)  # of what is asked, and whether only to look
        self._failed_at = float("-inf")  # monotonic
        self._settling: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    @property
    def is_just_lost(self) -> bool:
        """Whether Redis failed a moment ago, so that claims may be missing."""
        return time.monotonic() - self._failed_at < JUST_LOST_S

    def ask(self, asked: Asked, *, look: bool) -> "asyncio.Future[Answer]":
        """Claims a nonce, or only looks it up. Never fails: without Redis the answer is Claim.AWAY."""
        return self._rounds.ask((asked, look))

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
        await asyncio.gather(*self._settling, self._rounds.close(), return_exceptions=True)

    async def _settle(self, results: Sequence[Result]) -> None:
        claims = [keys.claim(UUID(bytes=result.update_id)) for result in results]
        values = [result.SerializeToString() for result in results]
        try:
            await run_all(self._redis, [Call(_SETTLE, claims, (CLAIM_LIFE_S, *values))])
        except AWAY:
            self._failed()
        except RedisError as e:
            log.warning("Results were not kept", extra={"event": "settle_failed", "error": type(e).__name__})

    async def _answers(self, asks: Sequence[tuple[Asked, bool]]) -> Sequence[Answer | Exception]:
        answers = [_ANSWERED_AWAY] * len(asks) if self._breaker.is_open else await self._asked(asks)
        figures.claimed([answer.claim for answer in answers])
        return answers

    async def _asked(self, asks: Sequence[tuple[Asked, bool]]) -> list[Answer]:
        try:
            replies = await run_for(self._redis, asks, _claiming, CALL_MAX)
        except (RedisError, OSError):  # whatever it is, those who wait must hear of it
            self._failed()
            return [_ANSWERED_AWAY] * len(asks)
        self._breaker.worked()
        return [_answer(reply) for reply in replies]

    def _failed(self) -> None:
        if not self._breaker.is_open:
            log.warning("Redis away: updates are accepted without claims", extra={"event": "redis_away"})
        self._breaker.failed()
        self._failed_at = time.monotonic()


def _claiming(asks: Sequence[tuple[Asked, bool]]) -> Call:
    names = [name for asked, _ in asks for name in asked.redis_keys()]
    arguments = [argument for asked, look in asks for argument in asked.arguments(look=look)]
    return Call(_ACCEPT, names, [CLAIM_LIFE_S, *arguments])


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
