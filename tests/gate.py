"""A TCP proxy before a server, whose link a test may break in every way a network can, for that one caller alone.

Two directions: ONWARD to the server, BACK from it. Holds always: bytes that pass are the bytes that came, in order;
what a freeze held back passes when it ends; the port stays the same when the gate is shut and opened again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from urllib.parse import urlsplit, urlunsplit

from scoreboard.local.ports import Ports

CHUNK_BYTES = 65_536


class Direction(Enum):
    """Which way bytes go."""

    ONWARD = "to the server"
    BACK = "from the server"


BOTH = (Direction.ONWARD, Direction.BACK)


class Gate:
    """Forwards a port of 127.0.0.1 to the server's. Made shut; `open` it first."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: dict[Direction, set[asyncio.StreamWriter]] = {direction: set() for direction in Direction}
        self._flowing = {direction: asyncio.Event() for direction in Direction}
        self._delay_s = dict.fromkeys(Direction, 0.0)
        for flowing in self._flowing.values():
            flowing.set()
        self.port = 0

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        return self._server is not None

    def url(self, url: str) -> str:
        """Return a server's URL with this gate in the server's place."""
        parts = urlsplit(url)
        account, _, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{self.port}"))

    async def open(self) -> None:
        """Take connections."""
        if not self.port:  # one of those that no outgoing connection takes while the gate is shut
            ports = Ports()
            self.port = ports.take("gate")
            ports.release_all()
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def shut(self) -> None:
        """Break the connections that are there and refuse new ones."""
        assert self._server is not None, "open comes before shut"
        server, self._server = self._server, None
        server.close()
        self.cut()
        await server.wait_closed()

    def cut(self) -> None:
        """Break the connections that are there (RST); new ones are taken."""
        for writers in self._writers.values():
            for writer in list(writers):
                _reset(writer)

    def freeze(self, *directions: Direction) -> None:
        """Hold bytes back, both ways by default: connections stay, new ones are taken, and nothing arrives."""
        for direction in directions or BOTH:
            self._flowing[direction].clear()

    def delay(self, delay_s: float, *directions: Direction) -> None:
        """Let each chunk wait so long, both ways by default; later ones wait behind it."""
        for direction in directions or BOTH:
            self._delay_s[direction] = delay_s

    def half_close(self, direction: Direction) -> None:
        """Tell the far ends of this direction that no more comes (FIN); the other direction goes on."""
        writers, self._writers[direction] = self._writers[direction], set()
        for writer in writers:
            with contextlib.suppress(OSError):
                writer.write_eof()

    async def heal(self) -> None:
        """Let everything pass again. Connections that were cut or half closed stay so: their callers make new ones."""
        for direction in Direction:
            self._delay_s[direction] = 0.0
            self._flowing[direction].set()
        if not self.is_open:
            await self.open()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        ends = ((Direction.ONWARD, reader, onward), (Direction.BACK, there, writer))
        for direction, _, sink in ends:
            self._writers[direction].add(sink)
        try:
            await asyncio.gather(*(self._copy(*end) for end in ends))
        except OSError:  # one end was reset: so is the other
            for _, _, sink in ends:
                _reset(sink)
        finally:
            for direction, _, sink in ends:
                self._writers[direction].discard(sink)
                sink.close()

    async def _copy(self, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            if self._delay_s[direction]:
                await asyncio.sleep(self._delay_s[direction])
            await self._flowing[direction].wait()
            if sink in self._writers[direction]:  # else half closed: what still comes has nowhere to go
                sink.write(data)
                await sink.drain()
        if sink in self._writers[direction]:
            sink.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    # Without lingering, closing sends a RST instead of a FIN.
    with contextlib.suppress(OSError):  # closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def gate_to(target_port: int) -> AsyncIterator[Gate]:
    """Yields an open gate; shuts it at the end."""
    gate = Gate(target_port)
    await gate.open()
    try:
        yield gate
    finally:
        await gate.heal()
        await gate.shut()
