"""What is counted of calls: how many, how long, how they were refused. An RPC's figures are made once, at the start."""

from __future__ import annotations

import time

from mesh import metrics
from mesh.metrics import Histogram, Value
from mesh.reasons import CODES, Reason

_DURATION = metrics.histogram("scoreboard_rpc_duration_seconds")
_REFUSALS = metrics.counter("scoreboard_rpc_refusals_total")
_STREAMS = metrics.counter("scoreboard_rpc_streams_total")
_OPEN = metrics.gauge("scoreboard_rpc_open_streams")

CLOCKS_DIFFER_S = 0.01  # grpc's own clock ends a call
CANCELLED = "CANCELLED"  # the caller left: no reason of ours


def refusals() -> dict[tuple[str, str], float]:
    """Returns how many calls of this process ended with one of our refusals so far, by RPC and reason."""
    return {(name, reason): refused.value for (name, _, reason), refused in _REFUSALS.children().items() if reason}


class RpcFigures:
    """The figures of one RPC, or of one page, by its name: `ScoreService/UpdateScore`, `GET /openapi.json`."""

    __slots__ = ("duration", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.duration: Histogram = _DURATION.child(name)

    def answered(self, began: float) -> None:
        """Counts a call that is over, whatever its end; began: metrics.clock()."""
        self.duration.observe(metrics.clock() - began)

    def refused(self, reason: Reason) -> None:
        """Counts a refusal."""
        _REFUSALS.child(self.name, CODES[reason].name, reason).inc()

    def failed(self, status: int) -> None:
        """Counts a plain HTTP answer that is none of our refusals."""
        _REFUSALS.child(self.name, str(status), "").inc()

    def left(self, deadline: float | None) -> None:
        """Counts a call that was ended before its answer: by its deadline (monotonic), or by its caller."""
        if deadline is not None and time.monotonic() >= deadline - CLOCKS_DIFFER_S:
            self.refused(Reason.DEADLINE_EXCEEDED)
        else:
            _REFUSALS.child(self.name, CANCELLED, "").inc()

    def stream(self) -> Value:
        """Counts a stream that begins; returns the figure of those that are open."""
        _STREAMS.child(self.name).inc()
        return _OPEN.child(self.name)
