"""Takes a batch from its jobs to its answers, in DESIGN's order: commit, Redis, reply; then the caller acks.

Its updates are one transaction, each act on a player is one of its own.

Holds always: an error that names no job costs no job anything, it is waited out; a job that fails alone goes to a
delay or to the dead letters, and all others of its batch are applied; a Redis that is away never holds back an answer.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from board.job_pb2 import Job, Result
from board.ledger import PARKED
from mesh import metrics, points, tracing
from mesh.rabbitmq import Publisher
from worker import figures
from worker.applied import Applied
from worker.batch import Asked, envelope, replies
from worker.batch_trace import BatchTrace
from worker.decide import parked_result, together
from worker.failure import is_final, is_nobodys, reason_of
from worker.mover import Mover, failed_once_more

log = logging.getLogger(__name__)

AWAY_FIRST_S = 0.05  # a failover or a deadlock is over soon
AWAY_MAX_S = 1.0  # work flows again within a second of the database's return


class Ledger(Protocol):
    """What applies jobs: worker.apply.Applier."""

    async def apply(self, jobs: Sequence[Job]) -> Applied:
        """Applies the jobs in one transaction."""
        ...


class View(Protocol):
    """What shows the entries: worker.views.Views."""

    async def write(self, applied: Applied) -> bool:
        """Writes what was committed to Redis; False, and nothing raised, where that must wait for a Redis away."""
        ...


@dataclass(slots=True)
class Committed:
    """A batch that Postgres has, and nobody else yet. at: when it was committed."""

    asked: Sequence[Asked]
    trace: BatchTrace
    began: float  # mesh.metrics.clock
    at: datetime = field(init=False)
    applied: list[Applied] = field(default_factory=list)
    failed: list[tuple[Job, Exception]] = field(default_factory=list)

    @property
    def must_move(self) -> bool:
        """Whether some of its jobs go to a delay or to the dead letters."""
        return bool(self.failed) or any(applied.parked for applied in self.applied)


class Settler:
    """Settles batches for consumers; each may commit one while its one before is shown."""

    def __init__(self, ledger: Ledger, view: View, publisher: Publisher, mover: Mover) -> None:
        self._ledger = ledger
        self._view = view
        self._publisher = publisher
        self._mover = mover
        self.is_database_away = False  # written by _apply alone
        figures.DATABASE_AWAY.read(lambda: self.is_database_away)

    async def settle(self, asked: Sequence[Asked], is_held: Callable[[], bool]) -> None:
        """Applies, shows and answers the jobs; afterwards their deliveries may be acked. Raises DeliveryLost."""
        await self.finish(await self.commit(asked), is_held)

    async def commit(self, asked: Sequence[Asked]) -> Committed:
        """Applies the jobs. What is returned must be finished before their deliveries are acked."""
        batch = Committed(asked, BatchTrace(asked), metrics.clock())
        try:
            for jobs in together([each.job for each in asked]):
                await self._apply(jobs, batch)
        except BaseException:
            batch.trace.end()
            raise
        points.reached("worker.after_commit")
        batch.trace.reached("committed")
        batch.at = figures.now()
        return batch

    async def finish(self, batch: Committed, is_held: Callable[[], bool]) -> None:
        """Shows and answers what was committed, and gives away what failed. Raises DeliveryLost."""
        try:
            await self._finish(batch, is_held)
        finally:
            batch.trace.end()
        figures.BATCH_DURATION.observe(metrics.clock() - batch.began)
        points.reached("worker.after_reply")

    async def _finish(self, batch: Committed, is_held: Callable[[], bool]) -> None:
        for applied in batch.applied:
            applied.traces = batch.trace.contexts
        shown = [applied for applied in batch.applied if await self._view.write(applied)]
        shown_at = figures.now()
        points.reached("worker.after_redis")
        batch.trace.reached("shown")
        # What must be parked is answered only once it is: the others do not wait for that.
        decided = (result for applied in batch.applied for result in applied.results.values())
        self._reply(batch.asked, (result for result in decided if result.outcome != PARKED))
        batch.trace.reached("answered")
        figures.settled(batch.applied, batch.at, shown, shown_at)
        await self._park(batch, is_held)

    async def _apply(self, jobs: Sequence[Job], batch: Committed) -> None:
        try:
            batch.applied.append(await self._apply_patiently(jobs))
        except Exception as e:
            if len(jobs) == 1:
                extra = {"event": "job_failed", "update_id": _shown(jobs[0])}
                if trace_id := tracing.trace_id(jobs[0].traceparent):
                    extra["trace_id"] = trace_id
                log.warning("A job failed", exc_info=e, extra=extra)
                batch.failed.append((jobs[0], e))
                return
            # By halves, in the order given: 5 bad jobs in 500 cost some 80 transactions instead of 500.
            middle = len(jobs) // 2
            await self._apply(jobs[:middle], batch)
            await self._apply(jobs[middle:], batch)

    async def _apply_patiently(self, jobs: Sequence[Job]) -> Applied:
        wait_s = AWAY_FIRST_S
        while True:
            try:
                applied = await self._ledger.apply(jobs)
            except Exception as e:
                if not is_nobodys(e):
                    raise
                if not self.is_database_away:
                    log.warning("Jobs wait: %s", type(e).__name__, extra={"event": "database_away", "error": str(e)})
                self.is_database_away = True
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, AWAY_MAX_S)
            else:
                self.is_database_away = False
                return applied

    async def _park(self, batch: Committed, is_held: Callable[[], bool]) -> None:
        parked: list[Result] = []
        for job, reason in (pair for applied in batch.applied for pair in applied.parked):
            await self._mover.to_dead(envelope([job]), reason, is_held)
            parked.append(parked_result(job, reason))
        for job, error in batch.failed:
            mine = [each for each in batch.asked if each.job is job]
            if not is_final(error) and await self._mover.to_next_try(mine[0], is_held):
                continue
            await self._mover.to_dead(envelope([failed_once_more(job)]), reason_of(error), is_held)
            parked.append(parked_result(job, reason_of(error)))
        self._reply(batch.asked, parked)

    def _reply(self, asked: Iterable[Asked], results: Iterable[Result]) -> None:
        bodies = replies(asked, {result.update_id: result for result in results})
        for asker, body in bodies.items():
            # A reply that is lost is healed by the asker, who then reads the ledger.
            self._publisher.publish_nowait("", asker, body)


def _shown(job: Job) -> str:
    return job.update_id.hex()
