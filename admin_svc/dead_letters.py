"""Lists the jobs that were given up, and queues them again.

A replayed job goes to the suspects, one by one, as if it had never failed. Its dead letter stays until the worker that
applies it removes it, in the same transaction. Holds always: what is queued twice counts once, by the ledger's key;
and the admin log says what was asked for before anything is queued.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
from asyncpg import Record
from google.protobuf.message import DecodeError

from admin_svc.answer import rfc3339
from board import acts, queues
from board.job_pb2 import Job, Jobs
from mesh.identity import Identity
from mesh.rabbitmq import BrokerError, Publisher, QueueFull
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.sql import load
from scoreboard.v1 import admin_pb2 as pb

_SQL = load(__package__, "dead_letters.sql")
PAGE = 100  # queued at once, each confirmed
REFUSED_SHOWN_MAX = 1_000
NOT_FOUND = "not found"
NO_JOB = "its bytes are no job"
NOT_TAKEN = "the broker does not take it now"


@dataclass(slots=True)
class Replayed:
    """What became of a replay. refused: the first REFUSED_SHOWN_MAX that were not queued, with the reason."""

    count: int = 0
    refused: list[str] = field(default_factory=list)

    def refuse(self, update_ids: Iterable[UUID], reason: str) -> None:
        """Notes what was not queued."""
        room = REFUSED_SHOWN_MAX - len(self.refused)
        self.refused += [f"{update_id}: {reason}" for update_id in list(update_ids)[:room]]


class DeadLetters:
    """The table dead_letters, and the way back to the queue."""

    def __init__(self, pool: asyncpg.Pool, publisher: Publisher) -> None:
        self._pool = pool
        self._publisher = publisher

    async def oldest(self, limit: int) -> pb.ListDeadLettersResponse:
        """Returns the oldest, and how many there are."""
        rows = await self._pool.fetch(_SQL["list_letters"], limit)
        total = await self._pool.fetchval(_SQL["count_letters"])
        return pb.ListDeadLettersResponse(dead_letters=map(_shown, rows), total=total)

    async def replay(self, operator: Identity, update_ids: Sequence[UUID], reason: str) -> Replayed:
        """Queues these again. Raises Refused(BROKER_AWAY or QUEUE_FULL) when none could be queued."""
        await self._log(operator, reason, {"update_ids": [str(update_id) for update_id in update_ids]})
        replayed = Replayed()
        rows = await self._pool.fetch(_SQL["find_letters"], update_ids)
        replayed.refuse(set(update_ids) - {row["update_id"] for row in rows}, NOT_FOUND)
        for start in range(0, len(rows), PAGE):
            if not await self._queue(rows[start : start + PAGE], replayed):
                replayed.refuse((row["update_id"] for row in rows[start + PAGE :]), NOT_TAKEN)
                break
        return replayed

    async def replay_all(self, operator: Identity, reason: str) -> Replayed:
        """Queues all again that are there now, until the broker takes no more; raises as `replay`."""
        await self._log(operator, reason, {"all": await self._pool.fetchval(_SQL["count_letters"])})
        replayed, after = Replayed(), UUID(int=0)
        # By id, which a letter that fails again keeps: so this comes to an end.
        while rows := await self._pool.fetch(_SQL["next_letters"], after, PAGE):
            if not await self._queue(rows, replayed):
                break
            after = rows[-1]["update_id"]
        return replayed

    async def _queue(self, rows: Sequence[Record], replayed: Replayed) -> bool:
        """Queues the jobs of these letters; False: the broker did not take all of them."""
        jobs = {row["update_id"]: job for row in rows if (job := _job(row)) is not None}
        replayed.refuse((row["update_id"] for row in rows if row["update_id"] not in jobs), NO_JOB)
        outcomes = await asyncio.gather(*map(self._publish, jobs.values()))
        replayed.count += outcomes.count(None)
        failed = {update_id: error for update_id, error in zip(jobs, outcomes, strict=True) if error is not None}
        if failed and not replayed.count:
            error = next(iter(failed.values()))
            raise _refused(error) from error
        replayed.refuse(failed, NOT_TAKEN)
        return not failed

    async def _publish(self, job: Job) -> BrokerError | None:
        again = Job()
        again.CopyFrom(job)
        again.attempt = 0
        try:
            await self._publisher.publish(queues.EXCHANGE, queues.SUSPECTS, Jobs(jobs=[again]).SerializeToString())
        except BrokerError as e:
            return e
        return None

    async def _log(self, operator: Identity, reason: str, asked: dict[str, object]) -> None:
        async with self._pool.acquire() as conn:
            await acts.log_act(
                conn,
                actor=operator.subject,
                action="replay",
                target="dead letters",
                reason=reason,
                before={},
                after=asked,
            )


def _job(row: Record) -> Job | None:
    """Returns the job of a letter; None: its bytes are none, and the letter's key was made of them."""
    try:
        job = Job.FromString(row["job"] or b"")
    except DecodeError:
        return None
    return job if job.update_id == row["update_id"].bytes else None


def _shown(row: Record) -> pb.DeadLetter:
    job = _job(row) or Job()
    return pb.DeadLetter(
        update_id=str(row["update_id"]),
        user_id=job.user_id,
        action_id=job.action_id,
        reason=row["reason"],
        attempts=row["attempts"],
        first_failed_at=rfc3339(row["first_failed_at"]),
        kind=job.kind,
    )


def _refused(error: BrokerError) -> Refused:
    if isinstance(error, QueueFull):
        return Refused(Reason.QUEUE_FULL, "Too many jobs wait already; try again.", retry_after_s=1)
    return Refused(Reason.BROKER_AWAY, "Nothing could be queued; try again.", retry_after_s=1)
