"""Hands accepted updates to the queue: those that arrive while a message is on its way share the next (group commit).

Holds always: a job is told as handed over only after the broker's confirm, an envelope has at most 500 jobs and a
bounded size, and a job waits at most WAIT_S for company.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from board import queues
from board.job_pb2 import Job, Jobs
from mesh import points, tracing
from mesh.rabbitmq import DIRECT_REPLY_TO, BrokerAway, BrokerError, QueueFull
from mesh.reasons import Reason
from mesh.refusal import Refused
from score_svc import figures
from score_svc.results import OnWay

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

JOBS_MAX = 500  # CONTRACT: an envelope's bound
BYTES_MAX = 256 * 1024  # far over 500 ordinary jobs
WAIT_S = 0.030  # the results of what is on its way are here before, unless the machine is busy: decisions/0013
RETRY_AFTER_S = 1.0


class Publishes(Protocol):
    """What this module needs of mesh.rabbitmq.Publisher."""

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, *, reply_to: str | None = None, timeout_s: float = 2.0
    ) -> None:
        """Returns after the confirm. Raises BrokerError."""


class HandOver:
    """Collects jobs and publishes them. `on_way` counts the updates without a result, those that wait here included."""

    def __init__(
        self,
        publisher: Publishes,
        fail: Callable[[OnWay, Refused], None],
        on_way: Callable[[], int],
        confirm_timeout_s: float = 2.0,
    ) -> None:
        self._publisher = publisher
        self._fail = fail
        self._on_way = on_way
        self._confirm_timeout_s = confirm_timeout_s
        self._jobs: list[tuple[Job, OnWay]] = []
        self._bytes = 0
        self._spans: dict[Span, Span] = {}  # of the sampled calls among them: each call's, and that of its hand-over
        self._timer: asyncio.Handle | None = None
        self._publishing: set[asyncio.Task[None]] = set()

    def send(self, job: Job, on_way: OnWay) -> None:
        """Takes a job; `on_way` is marked confirmed, or fails, when the broker has spoken."""
        caller = tracing.current()
        size_bytes = job.ByteSize() + (8 if caller is None else 72)
        if self._bytes + size_bytes > BYTES_MAX:
            self._flush()
        if caller is not None:
            job.traceparent = tracing.traceparent_of(self._span_of(caller))
        self._jobs.append((job, on_way))
        self._bytes += size_bytes
        if len(self._jobs) >= JOBS_MAX:
            self._flush()
        elif self._timer is None:
            self._timer = self._start_timer()

    def on_results(self) -> None:
        """Publishes what has gathered, if all that was published has its results: the workers are free."""
        if self._on_way() <= len(self._jobs):
            self._flush()

    async def close(self) -> None:
        """Publishes what is left and waits for its confirms."""
        self._flush()
        await asyncio.gather(*self._publishing, return_exceptions=True)

    def _span_of(self, caller: Span) -> Span:
        # One a call, however many jobs it brings.
        span = self._spans.get(caller)
        if span is None:
            span = tracing.begin(f"{queues.UPDATES} publish", tracing.Kind.PRODUCER, caller)
            self._spans[caller] = span
        return span

    def _start_timer(self) -> asyncio.Handle:
        loop = asyncio.get_running_loop()
        if self._on_way() <= len(self._jobs):
            # Nothing else is on its way: no one waits, yet the jobs of one turn of the loop go together.
            return loop.call_soon(self._flush)
        return loop.call_later(WAIT_S, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._jobs:
            return
        jobs, self._jobs, self._bytes = self._jobs, [], 0
        spans, self._spans = self._spans.values(), {}
        task = asyncio.create_task(self._publish(jobs, spans), name="publish jobs")
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, jobs: list[tuple[Job, OnWay]], spans: Iterable[Span]) -> None:
        body = Jobs(jobs=[job for job, _ in jobs]).SerializeToString()
        try:
            await self._publisher.publish(
                queues.EXCHANGE,
                queues.UPDATES,
                body,
                reply_to=DIRECT_REPLY_TO,
                timeout_s=self._confirm_timeout_s,
            )
        except BrokerError as e:
            refused = _refused(e)
            for _, on_way in jobs:
                self._fail(on_way, refused)
            for span in spans:
                tracing.mark_failed(span, refused.reason)
            return
        finally:
            for span in spans:
                span.end()
        figures.ACCEPTED.inc(len(jobs))
        points.reached("score_svc.after_confirm")
        for _, on_way in jobs:
            on_way.is_confirmed = True


def broker_away() -> Refused:
    """Returns the refusal of an update that the broker did not confirm."""
    return Refused(
        Reason.BROKER_AWAY,
        "The update could not be queued; repeat it with the same nonce.",
        retry_after_s=RETRY_AFTER_S,
    )


def _refused(error: BrokerError) -> Refused:
    if isinstance(error, QueueFull):
        return Refused(
            Reason.QUEUE_FULL,
            "Too many updates wait already; repeat it with the same nonce after a while.",
            retry_after_s=RETRY_AFTER_S,
        )
    if not isinstance(error, BrokerAway):  # no queue is bound: an operator's mistake
        log.error("Updates cannot be routed", extra={"event": "unroutable", "error": str(error)})
    return broker_away()
