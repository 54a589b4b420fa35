"""The spans of what a board's next push shows: one a sampled update, from its hint to the frames of all watchers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mesh import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SPANS_MAX = 16  # at once: a board is pushed twenty times a second, whatever is sampled


class PushTrace:
    """What waits to be pushed on one board."""

    def __init__(self, board: str) -> None:
        self._attributes = {"scoreboard.board": board}
        self._spans: list[Span] = []

    def add(self, traceparents: Sequence[str], *, is_shown: bool) -> None:
        """Begins the spans of updates that a hint speaks of. is_shown: they were pushed before the hint came."""
        if not traceparents or not tracing.is_on():
            return
        for traceparent in traceparents[: SPANS_MAX - len(self._spans)]:
            span = tracing.begin("push board", tracing.Kind.INTERNAL, traceparent, attributes=self._attributes)
            if is_shown:
                span.end()
            else:
                self._spans.append(span)

    def take(self) -> Sequence[Span]:
        """Returns the spans of what the read that now begins will show, each to be ended after it."""
        if not self._spans:
            return ()
        spans, self._spans = self._spans, []
        return spans
