"""Asks Postgres what became of updates: rows of the ledger, dead letters. Reads only; the worker alone writes.

Holds always: many callers' questions go in one query, and a caller waits a bounded time.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from board import ledger
from board.job_pb2 import Job, Result
from mesh.postgres import AWAY
from mesh.redis import Breaker

PARKED = 2  # Result.outcome of a dead letter
ANSWER_TIMEOUT_S = 0.5  # a quarter of a call's budget; without an answer the update is published again, harmlessly

T = TypeVar("T")


class LedgerAway(Exception):  # noqa: N818 -- a state of the world, as mesh.rabbitmq.BrokerAway
    """Postgres did not answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is recorded of an update, and whose it is. `reporter`: empty for the player himself."""

    result: Result
    user_id: str
    reporter: str


class LedgerReader:
    """Answers questions by key."""

    def __init__(self, pool: "asyncpg.Pool") -> None:
        self._pool = pool
        self._waiting: dict[UUID, asyncio.Future[Row | None]] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._breaker = Breaker()
        self._queries: set[asyncio.Task[Any]] = set()  # also those that no one waits for any more

    async def outcome(self, update_id: UUID) -> Row | None:
        """Returns the row of an update, None without one; joins the questions of others. Raises LedgerAway."""
        future = self._waiting.get(update_id)
        if future is None:
            future = self._waiting[update_id] = asyncio.get_running_loop().create_future()
            if self._flusher is None:
                self._flusher = asyncio.create_task(self._flush(), name="ask ledger")
        return await asyncio.shield(future)

    async def outcomes(self, update_ids: Sequence[UUID]) -> Mapping[UUID, Row]:
        """Returns the rows that there are, in one query. Raises LedgerAway."""
        found = await self._bounded(ledger.find_updates(self._pool, update_ids))
        return {update_id: _row(update) for update_id, update in found.items()}

    async def dead_letter(self, update_id: UUID) -> Row | None:
        """Returns the job that was given up under an id as a PARKED row, None without one. Raises LedgerAway."""
        letter = (await self._bounded(ledger.find_dead_letters(self._pool, [update_id]))).get(update_id)
        if letter is None:
            return None
        job = Job.FromString(letter.job)
        result = Result(update_id=update_id.bytes, outcome=PARKED, reason=letter.reason, action_id=job.action_id)
        return Row(result, job.user_id, job.reporter)

    async def _bounded(self, query: Coroutine[Any, Any, T]) -> T:
        """Waits for a query, but never long: a cancelled one could hang with a frozen server, so it is left behind."""
        if self._breaker.is_open:
            query.close()
            raise LedgerAway("Postgres failed a moment ago")
        task = asyncio.create_task(query)
        self._queries.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait((task,), timeout=ANSWER_TIMEOUT_S)
        try:
            if not task.done():
                raise TimeoutError("Postgres does not answer")
            result = task.result()
        except (*AWAY, asyncpg.PostgresError) as e:  # a schema under way, a right that lacks: no answer either
            self._breaker.failed()
            raise LedgerAway(str(e)) from e
        self._breaker.worked()
        return result

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._queries.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its asker may have left

    async def _flush(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, {}
                try:
                    rows = await self.outcomes(list(asked))
                except Exception as e:  # whatever it is, those who wait must hear of it
                    for future in asked.values():
                        future.set_exception(LedgerAway(str(e)) if isinstance(e, LedgerAway) else e)
                        future.exception()  # its asker may have left
                else:
                    for update_id, future in asked.items():
                        future.set_result(rows.get(update_id))
        finally:
            self._flusher = None


def _row(update: ledger.RecordedUpdate) -> Row:
    result = Result(
        update_id=update.update_id.bytes,
        outcome=update.outcome,
        reason=update.reason or "",
        score_after=update.score_after or 0,
        points=update.score_change,
        username=update.username,
        action_id=update.action_id,
    )
    return Row(result, update.user_id, update.reporter or "")
