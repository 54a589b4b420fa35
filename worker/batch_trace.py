"""The spans of a batch with sampled jobs: one a trace, from taking the jobs to their answers, and one of the batch.

A batch holds jobs of many traces, so its own span is a trace by itself: it has links to theirs, and theirs to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from board import queues
from mesh import tracing
from worker.batch import Asked

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HINTS_MAX = 8  # traces that a batch goes on with in its hints: each makes spans where boards are pushed


class BatchTrace:
    """What is told of one batch; of a batch without a sampled job nothing."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._batch: Span | None = None
        self._spans: list[Span] = []
        self.contexts: tuple[str, ...] = ()  # by which the hints go on
        if tracing.is_on() and (found := {each.job.traceparent for each in asked if each.job.traceparent}):
            self._begin(sorted(found), len(asked))

    def _begin(self, traceparents: Sequence[str], jobs: int) -> None:
        attributes = {"scoreboard.jobs": jobs, "scoreboard.jobs.traces": len(traceparents)}
        self._batch = batch = tracing.begin("settle batch", tracing.Kind.INTERNAL, None, traceparents, attributes)
        name = f"{queues.UPDATES} process"
        self._spans = [tracing.begin(name, tracing.Kind.CONSUMER, parent, [batch]) for parent in traceparents]
        self.contexts = tuple(map(tracing.traceparent_of, self._spans[:HINTS_MAX]))

    def reached(self, step: str) -> None:
        """Notes when a step of the batch was done."""
        if self._batch is not None:
            self._batch.add_event(step)

    def end(self) -> None:
        """The batch is settled, or was given up."""
        for span in self._spans:
            span.end()
        if self._batch is not None:
            self._batch.end()
