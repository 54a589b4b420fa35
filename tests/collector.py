"""A collector of traces: OTLP/gRPC as a real one takes it, which keeps what it was sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Seen:
    """A span, and the service that sent it. Ids are hexadecimal."""

    service: str
    span: Span

    @property
    def kind(self) -> str:
        """SERVER, PRODUCER, CONSUMER or INTERNAL."""
        return Span.SpanKind.Name(self.span.kind).removeprefix("SPAN_KIND_")

    @property
    def trace(self) -> str:
        """Id of its trace."""
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        """Its own id."""
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        """Id of the span above it; empty: none."""
        return self.span.parent_span_id.hex()

    @property
    def links(self) -> set[tuple[str, str]]:
        """Traces and spans that it is linked to."""
        return {(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links}

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes, by name."""
        return values_of(self.span.attributes)


@dataclass
class Collector(pb_grpc.TraceServiceServicer):
    """All spans that came."""

    endpoint: str = ""
    spans: list[Seen] = field(default_factory=list)

    def Export(
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        for part in request.resource_spans:
            service = values_of(part.resource.attributes)["service.name"]
            self.spans += [Seen(service, span) for scope in part.scope_spans for span in scope.spans]
        return pb.ExportTraceServiceResponse()

    def of(self, trace: str) -> list[Seen]:
        """Returns the spans of a trace, in the order of their begin."""
        return sorted((seen for seen in self.spans if seen.trace == trace), key=lambda s: s.span.start_time_unix_nano)


def values_of(attributes: Iterable[Any]) -> dict[str, Any]:
    """Returns attributes by name."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Yields a collector that listens at its `endpoint`, in a thread: spans that it does not take in time are lost."""
    server, collector = grpc.server(ThreadPoolExecutor(1, thread_name_prefix="collector")), Collector()
    port = server.add_insecure_port("127.0.0.1:0")
    pb_grpc.add_TraceServiceServicer_to_server(collector, server)
    server.start()
    collector.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield collector
    finally:
        server.stop(0).wait()
