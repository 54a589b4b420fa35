"""Traces: W3C context from call to call, and spans of what is sampled, sent by OTLP/gRPC (docs/telemetry.md).

Whether something is sampled is read from the flags of its `traceparent`, before anything of the SDK is touched: a span
that the SDK throws away takes it 7 µs. Holds always: what is not sampled costs a slice of a string; without an
endpoint the SDK is not even loaded.
"""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

TRACEPARENT = "traceparent"  # the header, and the metadata of a gRPC call
EXPORT_TIMEOUT_S = 2.0
EXPORT_PAUSE_S = 1.0
QUEUE_SPANS_MAX = 4096  # that wait for the next export; what is more is dropped
FLUSH_S = 2.0  # at the end of the process; a collector that is away must not hold it up
LINKS_MAX = 128

_ODD = frozenset("13579bdf")  # the last digit of the flags: bit 0 says sampled
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")

_tracer: Tracer | None = None  # written by configure and close
_provider: TracerProvider | None = None  # the same
_ratio = 0.0  # of calls that come without a context
_current: ContextVar[Span | None] = ContextVar("span", default=None)


class Kind(Enum):
    """What a span stands for; names of opentelemetry.trace.SpanKind."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"
    INTERNAL = "INTERNAL"


def configure(service: str, endpoint: str | None, ratio: float) -> None:
    """Sends the spans of this process to `endpoint` (http://HOST:PORT, or https) from now on; None: makes none.

    ratio: how many of the calls without a trace context begin a trace, 0 to 1.
    """
    global _tracer, _provider, _ratio
    if endpoint is None:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    from mesh.span_exporter import SpanExporter

    instance = f"{socket.gethostname()}-{os.getpid()}"
    attributes = {"service.namespace": "scoreboard", "service.name": service, "service.instance.id": instance}
    # What gets here was sampled before.
    _provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create(attributes), shutdown_on_exit=False)
    _provider.add_span_processor(
        BatchSpanProcessor(
            SpanExporter(endpoint, EXPORT_TIMEOUT_S),
            max_queue_size=QUEUE_SPANS_MAX,
            schedule_delay_millis=EXPORT_PAUSE_S * 1000,
        )
    )
    _tracer = _provider.get_tracer("scoreboard")
    _ratio = ratio


def close() -> None:
    """Sends what waits, for FLUSH_S at most, and makes no more spans."""
    global _tracer, _provider, _ratio
    provider, _provider, _tracer, _ratio = _provider, None, None, 0.0
    if provider is not None:
        # In a thread, and left behind when it takes longer: the SDK itself would wait for half a minute.
        sending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(FLUSH_S)


def is_on() -> bool:
    """Whether spans are sent at all."""
    return _tracer is not None


def wants(traceparent: str | None) -> bool:
    """Whether a call that came with this header is traced; without one, chance decides."""
    if traceparent is None:
        return _ratio > 0 and random.random() < _ratio  # noqa: S311 -- no secret hangs on it
    return _tracer is not None and traceparent[54:55] in _ODD


def trace_id(traceparent: str | None) -> str | None:
    """Returns the trace's id (32 hex digits) of a header; None without a good one."""
    return traceparent[3:35] if traceparent is not None and _FORM.fullmatch(traceparent) else None


def current() -> Span | None:
    """Returns the span of the sampled call that this task serves."""
    return _current.get()


def traceparent_of(span: Span | None) -> str:
    """Returns the header by which others continue the span's trace; None: an empty one."""
    if span is None:
        return ""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def begin(
    name: str,
    kind: Kind,
    parent: Span | str | None = None,
    links: Iterable[str | Span] = (),
    attributes: Mapping[str, str | int] | None = None,
) -> Span:
    """Begins a span; `end()` must follow. parent: a span or a `traceparent`; None, or a bad one: a trace of its own.

    Only for what is sampled, while `is_on`.
    """
    from opentelemetry import trace

    assert _tracer is not None, "spans are begun for what is sampled, and nothing is while they are off"
    context = _context(parent)
    linked = [trace.Link(found) for link in links if (found := _context(link)) is not None]
    above = trace.INVALID_SPAN if context is None else trace.NonRecordingSpan(context)
    return _tracer.start_span(
        name,
        context=trace.set_span_in_context(above),
        kind=trace.SpanKind[kind.value],
        links=linked[:LINKS_MAX],
        attributes=attributes,
    )


class Serving:
    """A sampled call, from its begin to its end; meanwhile `current` is its span."""

    def __init__(self, path: str, traceparent: str | None) -> None:
        service, _, method = path.strip("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        self._span = begin(path.strip("/"), Kind.SERVER, traceparent, attributes=attributes)
        self._token = _current.set(self._span)

    def fail(self, reason: str, *, is_fault: bool) -> None:
        """Notes why the call was refused. is_fault: the mesh is to blame, and not the caller."""
        self._span.set_attribute("scoreboard.reason", reason)
        if is_fault:
            mark_failed(self._span, reason)

    def end(self) -> None:
        """The call is over."""
        _current.reset(self._token)
        self._span.end()


def mark_failed(span: Span, words: str) -> None:
    """Says that what the span stands for did not work."""
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR, words)


def _context(of: Span | str | None) -> SpanContext | None:
    from opentelemetry import trace

    if of is None:
        return None
    if not isinstance(of, str):
        return of.get_span_context()
    if not _FORM.fullmatch(of):
        logging.getLogger(__name__).debug("Not a trace context", extra={"event": "traceparent_bad"})
        return None
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.SpanContext(int(of[3:35], 16), int(of[36:52], 16), is_remote=True, trace_flags=flags)
