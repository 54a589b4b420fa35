"""A way to a server that a test may shut: to whoever goes through it the server is away, and to nobody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Forwards a port of 127.0.0.1 to the server's; `port` stays the same when it is shut and opened again."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Break the connections that are there and refuse new ones."""
        assert self._server is not None, "open comes before shut"
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._open |= {writer, onward}
            try:
                await asyncio.gather(_copy(reader, onward), _copy(there, writer))
            finally:
                self._open -= {writer, onward}
                writer.transport.abort()
                onward.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    raise ConnectionResetError("one end closed")  # ends the other direction too


@asynccontextmanager
async def gate_to(target_port: int) -> AsyncIterator[Gate]:
    """Yields an open gate; shuts it at the end."""
    gate = Gate(target_port)
    await gate.open()
    try:
        yield gate
    finally:
        await gate.shut()
