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
from board.dead_letters import find_dead_letters
from board.job_pb2 import Job, Result
from mesh.breaker import Breaker
from mesh.postgres import AWAY
from mesh.rounds import Rounds
from mesh.tasks import LeftBehind

ANSWER_TIMEOUT_S = 0.5  # a quarter of a call's budget; without an answer the update is published again, harmlessly
ROUND_MAX = 1_000  # questions a query: some 10 ms

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
        self._rounds = Rounds("ask ledger", self._rows, ROUND_MAX)
        self._breaker = Breaker()
        self._queries = LeftBehind()

    async def outcome(self, update_id: UUID) -> Row | None:
        """Returns the row of an update, None without one; joins the questions of others. Raises LedgerAway."""
        return await self._rounds.ask(update_id)

    async def outcomes(self, update_ids: Sequence[UUID]) -> Mapping[UUID, Row]:
        """Returns the rows that there are, in one query. Raises LedgerAway."""
        found = await self._bounded(ledger.find_updates(self._pool, update_ids))
        return {update_id: _row(update) for update_id, update in found.items()}

    async def dead_letter(self, update_id: UUID) -> Row | None:
        """Returns the job that was given up under an id as a PARKED row, None without one. Raises LedgerAway."""
        letter = (await self._bounded(find_dead_letters(self._pool, [update_id]))).get(update_id)
        if letter is None:
            return None
        job = Job.FromString(letter.job)
        result = Result(update_id=update_id.bytes, outcome=ledger.PARKED, reason=letter.reason, action_id=job.action_id)
        return Row(result, job.user_id, job.reporter)

    async def _bounded(self, query: Coroutine[Any, Any, T]) -> T:
        """Waits for a query, but never long; then it is left behind. Raises LedgerAway."""
        if self._breaker.is_open:
            query.close()
            raise LedgerAway("Postgres failed a moment ago")
        task = self._queries.begin(query, "ask ledger in time")
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

    async def _rows(self, update_ids: Sequence[UUID]) -> Sequence[Row | Exception | None]:
        rows = await self.outcomes(update_ids)
        return [rows.get(update_id) for update_id in update_ids]


def _row(update: ledger.RecordedUpdate) -> Row:
    return Row(update.result, update.user_id, update.reporter or "")
