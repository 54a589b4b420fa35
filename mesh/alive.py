"""Says whether the service of this container lives: `python -m mesh.alive`, with exit status 0 or 1 (HEALTHCHECK).

It asks gRPC health on the port that the environment gives the service, or the URL that it is called with.
"""

from __future__ import annotations

import os
import re
import sys
from urllib.request import urlopen

import grpc
from grpc_health.v1 import health_pb2

TIMEOUT_S = 4.0  # below HEALTHCHECK's own
#: Not SCOREBOARD_SCORE_GATEWAY_PORT, nor the one of metrics. By text: mesh.settings takes longer to import.
PORT_OF_SERVICE = re.compile(r"SCOREBOARD_(?!OPS_)[A-Z]+_PORT")


def is_alive(port: int) -> bool:
    """Whether the gRPC server of that port says that it lives."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def answers(url: str) -> bool:
    """Whether this URL, which is one of ours, answers 200."""
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def port_of_service() -> int:
    """Return the gRPC port among the settings. Raises SystemExit where there is none."""
    for name, value in os.environ.items():
        if PORT_OF_SERVICE.fullmatch(name):
            return int(value)
    sys.exit("No setting names a service's port; say a URL: python -m mesh.alive http://127.0.0.1:PORT/PATH")


if __name__ == "__main__":
    sys.exit(0 if (answers(sys.argv[1]) if sys.argv[1:] else is_alive(port_of_service())) else 1)
