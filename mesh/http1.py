"""gRPC carried by HTTP/1.1, as Envoy sends it to a cluster with `enable_trailers`: a third of what HTTP/2 costs here.

This is the listener; http1_connection.py has what becomes of a request, http1_wire.py how requests and answers look.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mesh.http1_connection import WRITE_BUFFER_BYTES, Connection, Shared
from mesh.plain_get import Page
from mesh.rpc import Calls, Service, by_path
from mesh.rpc_figures import RpcFigures

SWEEP_S = 5.0
BACKLOG = 4096


class Http1Server:
    """Listens for the gateway, and carries out its calls. pages: plain GETs by their path."""

    def __init__(
        self,
        services: Sequence[Service],
        calls: Calls,
        write_timeout_s: float,
        pages: Mapping[str, Page] = MappingProxyType({}),
    ) -> None:
        counted = {path: (page, RpcFigures(f"GET {path}")) for path, page in pages.items()}
        self.shared = Shared(by_path(services), calls, counted, write_timeout_s)
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> None:
        """Listens. Raises OSError when the port cannot be had."""
        sock = socket.create_server((host, port), backlog=BACKLOG)
        # Inherited by the connections: the kernel would take in megabytes for a reader that does not read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WRITE_BUFFER_BYTES)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self.shared), sock=sock, backlog=BACKLOG)
        self._sweeper = asyncio.create_task(self._sweep(), name="http1 sweep")

    def drain(self) -> None:
        """Answers the liveness check with 503 from now on, so that the gateway turns elsewhere."""
        self.shared.is_draining = True

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, gives those in flight `grace_s` to finish, then ends them."""
        if self._listener is None or self._sweeper is None:
            return
        self._listener.close()
        self._sweeper.cancel()
        self.drain()
        for connection in list(self.shared.connections):
            connection.close_when_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while busy := {connection.closed for connection in self.shared.connections if connection.is_busy}:
                    await asyncio.wait(busy)
        for connection in list(self.shared.connections):
            connection.abort()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for connection in list(self.shared.connections):
                connection.end_if_late(now)
