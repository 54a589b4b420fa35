"""Submits one job that is no update and brings its outcome: what auth_svc and admin_svc ask of the workers.

Holds always: an outcome is what the ledger says, whether the worker's reply came or was lost; without an outcome by
the deadline the job may still be applied, and submitting it again, under the same id, is harmless.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
from google.protobuf.message import DecodeError

from board import ledger, queues
from board.dead_letters import DeadLetter, find_dead_letters
from board.job_pb2 import Job, Jobs, Result, Results
from mesh import tracing
from mesh.postgres import AWAY
from mesh.rabbitmq import DIRECT_REPLY_TO, BrokerError, Connection, Publisher, QueueFull
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.tasks import LeftBehind

log = logging.getLogger(__name__)

CONFIRM_S = 2.0
WITHIN_S = 7.0  # an act waits its turn behind the updates that came before it
LOOK_S = 0.5  # how often the ledger is asked while no reply comes

Letters = Mapping[UUID, DeadLetter]


class Submitter:
    """Publishes jobs and hears their results; any number at once."""

    def __init__(self, connection: Connection, pool: asyncpg.Pool) -> None:
        self._publisher = Publisher(connection, self._on_reply)
        self._pool = pool
        self._waiting: dict[bytes, asyncio.Future[Result]] = {}
        self._reads = LeftBehind()

    async def submit(self, job: Job, *, within_s: float = WITHIN_S) -> Result:
        """Returns the outcome: applied, or refused with its reason.

        within_s: seconds that the caller can wait. Raises Refused: BROKER_AWAY and QUEUE_FULL (it was not taken, as far
        as is known), DEADLINE_EXCEEDED (it was, and is not applied yet), INTERNAL (it was given up and lies in the dead
        letters).
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        # What lies there from an earlier try is no outcome of this one.
        earlier = await self._letters(UUID(bytes=job.update_id), min(LOOK_S, within_s))
        future = self._waiting.setdefault(job.update_id, loop.create_future())
        try:
            await self._publish(job, max(0.0, min(CONFIRM_S, deadline - loop.time())))
            return await self._outcome(job, future, earlier, deadline)
        finally:
            self._waiting.pop(job.update_id, None)

    async def _publish(self, job: Job, timeout_s: float) -> None:
        job.traceparent = tracing.traceparent_of(tracing.current())
        body = Jobs(jobs=[job]).SerializeToString()
        try:
            await self._publisher.publish(
                queues.EXCHANGE, queues.UPDATES, body, reply_to=DIRECT_REPLY_TO, timeout_s=timeout_s
            )
        except QueueFull as e:
            raise Refused(Reason.QUEUE_FULL, "Too many jobs wait already; try again.", retry_after_s=1) from e
        except BrokerError as e:
            raise Refused(Reason.BROKER_AWAY, "It could not be queued; try again.", retry_after_s=1) from e

    async def _letters(self, update_id: UUID, within_s: float) -> Letters | None:
        """Returns the job's dead letter, if there is one; None: Postgres does not say in time."""
        read = self._reads.begin(find_dead_letters(self._pool, [update_id]), "look for a letter")
        await asyncio.wait({read}, timeout=within_s)
        try:
            return read.result() if read.done() else None
        except AWAY:
            return None

    async def _outcome(
        self, job: Job, replied: "asyncio.Future[Result]", earlier: Letters | None, deadline: float
    ) -> Result:
        update_id = UUID(bytes=job.update_id)
        loop = asyncio.get_running_loop()
        while (left_s := deadline - loop.time()) > 0:
            await asyncio.wait({replied}, timeout=min(LOOK_S, left_s))
            if replied.done():
                return _settled(replied.result())
            look = self._reads.begin(self._recorded(update_id, earlier), "look for an outcome")
            left_s = max(0.0, deadline - loop.time())
            either: set[asyncio.Future[Any]] = {replied, look}
            await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if look.done() and (result := look.result()) is not None:
                return _settled(result)
        raise Refused(
            Reason.DEADLINE_EXCEEDED,
            "It was accepted and waits for the workers; look again before asking a second time.",
            update_id=str(update_id),
        )

    async def _recorded(self, update_id: UUID, earlier: Letters | None) -> Result | None:
        try:
            if (row := (await ledger.find_updates(self._pool, [update_id])).get(update_id)) is not None:
                return row.result
            letter = (await find_dead_letters(self._pool, [update_id])).get(update_id)
            if letter is not None and earlier is not None and letter != earlier.get(update_id):
                return Result(update_id=update_id.bytes, outcome=ledger.PARKED, reason=letter.reason)
        except AWAY as e:
            log.info("The ledger does not answer", extra={"event": "ledger_away", "error": type(e).__name__})
        return None

    def _on_reply(self, body: bytes) -> None:
        try:
            results = Results.FromString(body).results
        except DecodeError:
            log.error("A reply could not be read", extra={"event": "reply_unreadable"})
            return
        for result in results:
            future = self._waiting.get(result.update_id)
            if future is not None and not future.done():
                future.set_result(result)


def _settled(result: Result) -> Result:
    if result.outcome == ledger.PARKED:
        raise Refused(Reason.INTERNAL, "It could not be applied; an operator finds it in the dead letters.")
    return result
