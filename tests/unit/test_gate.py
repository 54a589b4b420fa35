"""The gate breaks a link as the fault tests say that it does, and passes every byte in order otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.gate import Direction, Gate, gate_to

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SOON_S = 10.0
HELD_S = 0.1  # in which nothing may come


class Server:
    """A server behind a gate."""

    def __init__(self, gate: Gate, taken: asyncio.Queue[Ends]) -> None:
        self.gate = gate
        self._taken = taken
        self.ends: list[Ends] = []

    async def connected(self) -> tuple[Ends, Ends]:
        """A connection through the gate: the caller's end and the server's."""
        caller = await asyncio.open_connection("127.0.0.1", self.gate.port)
        self.ends += (caller, called := await asyncio.wait_for(self._taken.get(), SOON_S))
        return caller, called


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server behind an open gate."""
    taken: asyncio.Queue[Ends] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken.put((reader, writer))

    listening = await asyncio.start_server(take, "127.0.0.1", 0)
    async with gate_to(listening.sockets[0].getsockname()[1]) as gate:
        made = Server(gate, taken)
        yield made
        for _, writer in made.ends:
            writer.close()
    listening.close()


async def read(end: Ends, count: int = 1) -> bytes:
    """The next bytes; empty: the far end says that no more comes."""
    return await asyncio.wait_for(end[0].read(count), SOON_S)


async def nothing_comes(end: Ends) -> bool:
    """Whether nothing arrives for a while."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(end[0].read(1), HELD_S)
    return True


async def test_what_a_freeze_holds_back_comes_in_order_afterwards(server: Server) -> None:
    gate = server.gate
    caller, called = await server.connected()
    gate.freeze(Direction.BACK)
    caller[1].write(b"q")
    assert await read(called) == b"q"
    called[1].write(b"1")
    assert await nothing_comes(caller)
    called[1].write(b"2")
    await gate.heal()
    assert await asyncio.wait_for(caller[0].readexactly(2), SOON_S) == b"12"


async def test_a_slow_link_delays(server: Server) -> None:
    caller, called = await server.connected()
    server.gate.delay(HELD_S, Direction.ONWARD)
    began = time.monotonic()
    caller[1].write(b"q")
    assert await read(called) == b"q"
    assert time.monotonic() - began >= HELD_S


@pytest.mark.parametrize("direction", Direction)
async def test_half_a_connection_ends_and_the_other_half_goes_on(server: Server, direction: Direction) -> None:
    caller, called = await server.connected()
    source, sink = (caller, called) if direction is Direction.ONWARD else (called, caller)
    server.gate.half_close(direction)
    assert await read(sink) == b""
    sink[1].write(b"a")
    assert await read(source) == b"a"
    source[1].write(b"b")  # has nowhere to go, and ends nothing
    sink[1].write(b"c")
    assert await read(source) == b"c"


async def test_cut_ends_what_is_there_and_takes_new_callers(server: Server) -> None:
    caller, called = await server.connected()
    server.gate.cut()
    for end in (caller, called):
        with pytest.raises(ConnectionResetError):
            await read(end)
    caller, called = await server.connected()
    caller[1].write(b"q")
    assert await read(called) == b"q"


async def test_a_shut_gate_refuses_and_opens_on_its_port(server: Server) -> None:
    gate = server.gate
    port = gate.port
    await gate.shut()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await gate.heal()
    assert gate.port == port
    await server.connected()


async def test_a_server_that_is_away_is_away_behind_the_gate_too() -> None:
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    async with gate_to(port) as gate:
        caller = await asyncio.open_connection("127.0.0.1", gate.port)
        with pytest.raises(ConnectionResetError):
            await read(caller)
        caller[1].close()
