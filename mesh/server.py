"""Serves a process's services, for callers inside and for the gateway, with health, readiness and a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from grpc_health.v1 import health, health_pb2

from mesh import grpc_aio, metrics
from mesh.http1 import Http1Server
from mesh.plain_get import HttpAnswer, Page
from mesh.resources import Resources
from mesh.rpc import Calls, Service, Verifier, by_path
from mesh.settings import ServiceSettings
from mesh.tasks import end
from mesh.tls import TlsFiles

log = logging.getLogger(__name__)

METRICS = "/metrics"
READINESS_INTERVAL_S = 0.2
WRITE_TIMEOUT_S = 10.0  # a stream whose client has not taken a frame by then ends as SLOW_CONSUMER
_READY = metrics.gauge("scoreboard_ready")
_CONNECTIONS = metrics.gauge("scoreboard_gateway_connections")
_LOOP_DELAY = metrics.histogram("scoreboard_loop_delay_seconds").child()


async def serve(
    settings: ServiceSettings,
    port: int,
    services: Sequence[Service],
    *,
    ready: Callable[[], bool],
    gateway_port: int | None = None,
    readiness_names: Sequence[str] = (),
    pages: Mapping[str, Page] = MappingProxyType({}),
    verifier: Verifier | None = None,
    on_drain: Callable[[], Awaitable[None]] | None = None,
    write_timeout_s: float = WRITE_TIMEOUT_S,
    tls: TlsFiles | None = None,
    health_port: int | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: NOT_SERVING, `on_drain`, calls in flight finish, end.

    `port` is for callers inside (grpc.aio), `gateway_port` for the gateway (mesh.http1); None: it never calls this one.
    Metrics have a port of their own (`ops_port`), which the gateway does not know.
    tls: of `port`; `health_port` then answers probes, which know none. Raises OSError when a port cannot be had, and
    ValueError for certificates that cannot be used.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    calls, checks = Calls(verifier), health.aio.HealthServicer()
    address, credentials = f"{settings.host}:{port}", tls.credentials() if tls is not None else None
    servers = [grpc_aio.make_server(address, services, calls, checks, write_timeout_s, credentials)]
    if health_port is not None:
        servers.append(grpc_aio.make_health_server(f"{settings.host}:{health_port}", checks))
    for_gateway = Http1Server(services, calls, write_timeout_s, pages)
    if gateway_port is not None:
        await for_gateway.start(settings.host, gateway_port)
    for_prometheus = Http1Server((), calls, write_timeout_s, {METRICS: _show_metrics})
    if settings.ops_port is not None:
        await for_prometheus.start(settings.ops_host, settings.ops_port)
    _READY.read(ready)
    _CONNECTIONS.read(lambda: len(for_gateway.shared.connections))
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    for server in servers:
        await server.start()
    names = [*(service.descriptor.full_name for service in services), *readiness_names]
    watch = asyncio.create_task(_watch_readiness(checks, names, ready), name="readiness")
    log.info("Serving", extra={"event": "serving", "port": port})
    resources = Resources({method.figures.name: path for path, method in by_path(services).items()})
    telling = asyncio.create_task(resources.keep_telling(), name="resources")
    await stop.wait()
    log.info("Draining", extra={"event": "draining"})
    await end(watch, telling)
    for_gateway.drain()
    await checks.enter_graceful_shutdown()
    await asyncio.sleep(settings.drain_s)  # lets the gateway see NOT_SERVING and turn elsewhere
    if on_drain is not None:
        await on_drain()
    stops = (server.stop(settings.stop_grace_s) for server in servers)
    await asyncio.gather(*stops, for_gateway.stop(settings.stop_grace_s))
    await for_prometheus.stop(0)
    resources.tell()


async def _watch_readiness(checks: health.aio.HealthServicer, names: Sequence[str], ready: Callable[[], bool]) -> None:
    shown: bool | None = None
    while True:
        now = ready()
        if now != shown:
            status = health_pb2.HealthCheckResponse
            for name in names:
                await checks.set(name, status.SERVING if now else status.NOT_SERVING)
            log.info("Readiness changed", extra={"event": "readiness", "ready": now})
            shown = now
        began = metrics.clock()
        await asyncio.sleep(READINESS_INTERVAL_S)
        _LOOP_DELAY.observe(max(0.0, metrics.clock() - began - READINESS_INTERVAL_S))


async def _show_metrics(query: str, headers: Mapping[str, str]) -> HttpAnswer:
    return HttpAnswer(200, metrics.HEADERS, metrics.text())
