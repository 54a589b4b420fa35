"""Sends spans by OTLP/gRPC, and says once that the collector is away; imported only where spans are sent."""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

log = logging.getLogger(__name__)


class SpanExporter(OTLPSpanExporter):
    """The SDK's exporter with an end to its complaints: it has one for each attempt."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        super().__init__(endpoint=endpoint, timeout=timeout_s)
        self._is_away = False
        for noisy in ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.attributes"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends the spans; what cannot be sent is lost."""
        result = super().export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            log.warning("Spans are lost: the collector is away", extra={"event": "traces_away", "count": len(spans)})
        elif self._is_away and not is_away:
            log.info("Spans are sent again", extra={"event": "traces_back"})
        self._is_away = is_away
        return result
