"""Takes an update from its checked fields to its result: claim, ledger, queue, wait, as retry.py decides.

Holds always: one budget covers all of it, and what returns is a committed result, or None for an update that the
broker has safe but that no one has committed yet.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import NamedTuple
from uuid import UUID

from board.job_pb2 import Job, Result
from mesh.reasons import Reason
from mesh.refusal import Refused
from score_svc import nonce as nonces
from score_svc.accept import Acceptor, Answer, Asked
from score_svc.handover import HandOver, broker_away
from score_svc.ledger import LedgerAway, LedgerReader, Row
from score_svc.rate import LocalWindow
from score_svc.results import OnWay, ResultDesk
from score_svc.retry import Age, Claim, Ledger, Step, looks_first, next_step


class Update(NamedTuple):
    """An update whose fields, signature, action and seal are in order."""

    asked: Asked
    nonce: nonces.Nonce
    is_expired: bool
    value: int | None = None
    reporter: str = ""

    @property
    def update_id(self) -> UUID:
        """Key of its ledger row."""
        return self.asked.update_id

    def job(self, accepted_at_us: int) -> Job:
        """Returns what the worker gets."""
        return Job(
            update_id=self.asked.update_id.bytes,
            kind="update",
            user_id=self.asked.user_id,
            action_id=self.asked.action_id,
            value=self.value,
            reporter=self.reporter,
            accepted_at_us=accepted_at_us,
        )


class Updates:
    """Carries updates through."""

    def __init__(self, acceptor: Acceptor, ledger: LedgerReader, desk: ResultDesk, hand_over: HandOver) -> None:
        self._acceptor = acceptor
        self._ledger = ledger
        self._desk = desk
        self._hand_over = hand_over
        self._window = LocalWindow()

    async def run(self, update: Update, deadline: float) -> Result | None:
        """Returns the result, None while it is PENDING at the deadline (monotonic seconds). Raises Refused."""
        age, first = self.ask(update)
        return await self.follow(update, age, await first, deadline)

    def ask(self, update: Update) -> tuple[Age, "asyncio.Future[Answer]"]:
        """Asks Redis, so that many updates can ask together before any is followed."""
        now_ms = time.time_ns() // 1_000_000
        age = Age(update.is_expired, update.nonce.age_ms(now_ms), self._acceptor.is_just_lost)
        return age, self._acceptor.ask(update.asked, look=looks_first(age))

    async def follow(self, update: Update, age: Age, answer: Answer, deadline: float) -> Result | None:
        """Does what `run` does after the first answer of Redis."""
        ledger, row = Ledger.UNASKED, None
        while True:
            match next_step(answer.claim, answer.result is not None, age, ledger):
                case Step.ANSWER:
                    return _own(update, row.result if row is not None else answer.result)
                case Step.ASK_LEDGER if answer.claim is Claim.SEEN and (on_way := self._desk.find(update.update_id)):
                    return await self.wait(update, on_way, deadline)
                case Step.ASK_LEDGER:
                    ledger, row = await self._look_in_ledger(update)
                case Step.CLAIM:
                    answer = await self._acceptor.ask(update.asked, look=False)
                case Step.PUBLISH:
                    on_way = self.publish(update, answer.at_us or self._stamp(update))
                    return await self.wait(update, on_way, deadline)
                case step:
                    raise _refusal(step, update, answer)

    def publish(self, update: Update, accepted_at_us: int) -> OnWay:
        """Hands an update over, or joins the one that is on its way."""
        on_way = self._desk.find(update.update_id)
        if on_way is None:
            on_way = self._desk.open(update.update_id)
            self._hand_over.send(update.job(accepted_at_us), on_way)
        return on_way

    def wait(self, update: Update, on_way: OnWay, deadline: float) -> "Awaitable[Result | None]":
        """Waits for the result until the deadline, from this moment on, whenever it is awaited. Raises Refused."""
        return self._finish(update, on_way, self._desk.wait(on_way, deadline))

    async def _finish(self, update: Update, on_way: OnWay, waiting: "asyncio.Future[Result | None]") -> Result | None:
        result = await waiting
        if result is None and not on_way.is_confirmed:
            raise broker_away()
        return _own(update, result)

    async def _look_in_ledger(self, update: Update) -> tuple[Ledger, Row | None]:
        try:
            row = await self._ledger.outcome(update.update_id)
        except LedgerAway:
            return Ledger.AWAY, None
        if row is None:
            return Ledger.ABSENT, None
        return (Ledger.SAME if row.result.action_id == update.asked.action_id else Ledger.OTHER), row

    def _stamp(self, update: Update) -> int:
        """Returns the own clock's microseconds, where Redis's cannot be had. Raises Refused(RATE_LIMITED)."""
        asked = update.asked
        wait_s = self._window.take(
            asked.rate_key, asked.update_id, asked.limit, asked.window_ms / 1000, time.monotonic()
        )
        if wait_s > 0:
            raise _limited(asked, wait_s)
        return time.time_ns() // 1000


def _own(update: Update, result: Result | None) -> Result | None:
    """Returns the result unless it is another action's, which a lost claim lets come. Raises Refused(NONCE_REUSED)."""
    if result is not None and result.action_id not in ("", update.asked.action_id):
        raise _reused()
    return result


def _refusal(step: Step, update: Update, answer: Answer) -> Refused:
    match step:
        case Step.REFUSE_REUSED:
            return _reused()
        case Step.REFUSE_EXPIRED:
            return nonces.expired()
        case Step.REFUSE_DENIED:
            return session_revoked()
        case Step.REFUSE_LIMITED:
            return _limited(update.asked, answer.wait_s)
    return Refused(
        Reason.SERVICE_AWAY,
        "The nonce is old, and whether it was used cannot be looked up right now; repeat it.",
        retry_after_s=1,
    )


def session_revoked() -> Refused:
    """Returns the refusal of a token whose session was logged out."""
    return Refused(Reason.SESSION_REVOKED, "This session was ended: log in again.")


def _reused() -> Refused:
    return Refused(Reason.NONCE_REUSED, "This nonce was used for another update: use a new one.")


def _limited(asked: Asked, wait_s: float) -> Refused:
    span_s = asked.window_ms // 1000
    return Refused(
        Reason.RATE_LIMITED,
        f"At most {asked.limit} updates in {span_s} s: wait a while.",
        retry_after_s=wait_s,
        limit=asked.limit,
        window_s=span_s,
        retry_after_seconds=f"{wait_s:.3f}",
    )
