"""What a mesh tells of itself: where its traces go, and what its gateway logs (docs/telemetry.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from scoreboard.local.trouble import Trouble

ENDPOINT, RATIO = "SCOREBOARD_TRACES_ENDPOINT", "SCOREBOARD_TRACES_RATIO"
ACCESS_LOG = "SCOREBOARD_ACCESS_LOG_PERCENT"
RATIO_DEFAULT = 0.01
PATH_CHARACTERS = 256
#: Tags of Envoy's own that would hold what no trace may: a refused token in a query, and whose computer it was.
TAGS = {"http.url": "%PATH(NQ:ORIG_OR_PATH)%", "peer.address": "-", "user_agent": "-"}
TIMEOUT_S = 2


@dataclass(frozen=True)
class Traces:
    """host, port: of the collector, which speaks OTLP/gRPC without TLS. ratio: share of calls that are traced."""

    host: str
    port: int
    ratio: float = RATIO_DEFAULT

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Traces | None:
        """Return what the two of these variables say. Raises Trouble when they cannot be understood."""
        endpoint, ratio = variables.get(ENDPOINT), variables.get(RATIO, str(RATIO_DEFAULT))
        if not endpoint:
            return None
        try:
            url, share = urlsplit(endpoint), float(ratio)
            if url.scheme != "http" or not url.hostname or not url.port or not 0 <= share <= 1:
                raise ValueError
        except ValueError as error:
            cure = f"Write them so: {ENDPOINT}=http://127.0.0.1:4317 {RATIO}=0.01 (0 to 1)."
            raise Trouble(f"{ENDPOINT} and {RATIO} cannot be understood.", cure) from error
        return cls(url.hostname, url.port, share)

    def envoy(self) -> dict[str, object]:
        """Return the gateway's HttpConnectionManager.Tracing; its cluster is called `traces`."""
        kind = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"
        service = {"envoy_grpc": {"cluster_name": "traces"}, "timeout": f"{TIMEOUT_S}s"}
        return {
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {"@type": kind, "service_name": "envoy", "grpc_service": service},
            },
            "random_sampling": {"value": 100 * self.ratio},
            "client_sampling": {"value": 0},
            "max_path_tag_length": PATH_CHARACTERS,
            "custom_tags": [{"tag": tag, "value": value} for tag, value in TAGS.items()],
        }


def access_log_percent() -> int:
    """Return the share of requests below status 400 that the gateway logs. Raises Trouble when it is no percentage."""
    percent = os.environ.get(ACCESS_LOG, "100")
    if not percent.isdecimal() or int(percent) > 100:
        raise Trouble(f"{ACCESS_LOG}={percent} cannot be understood.", "Write a whole number from 0 to 100.")
    return int(percent)
