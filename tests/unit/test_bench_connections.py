"""The bench's load generators: what they send when, and what they count as an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

import hpack
import pytest

from bench import h2, http1
from bench.tally import Tally, drive_all

END_STREAM, END_HEADERS = 0x1, 0x4


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def take(self) -> bytes:
        written, self.written = self.written, b""
        return written


def json_connection(todo: Iterable[bytes]) -> tuple[http1.Connection, Wire]:
    connection, wire = http1.Connection(Tally(iter(todo), lambda answer: answer == http1.Answer(200, b"good"))), Wire()
    connection.connection_made(wire)
    return connection, wire


def grpc_connection(todo: Iterable[h2.Request]) -> tuple[h2.Connection, Wire]:
    connection, wire = h2.Connection(Tally(iter(todo), lambda message: message == b"good")), Wire()
    connection.connection_made(wire)
    wire.take()
    return connection, wire


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + payload


def counted(connection: h2.Connection | http1.Connection) -> tuple[int, int, int]:
    tally = cast(Tally[object, object], connection.tally)
    return tally.operations, tally.failed, tally.on_way


GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"


def test_a_request_is_whole() -> None:
    assert http1.request("POST", "/a", {"x-b": "c"}, b"body") == (
        b"POST /a HTTP/1.1\r\nhost: bench\r\nx-b: c\r\ncontent-length: 4\r\n\r\nbody"
    )
    assert http1.request("GET", "/a", {}) == b"GET /a HTTP/1.1\r\nhost: bench\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 12, len(GOOD) - 1])
def test_an_answer_in_pieces_is_counted_once_it_is_whole_and_the_next_request_goes(cut: int) -> None:
    connection, wire = json_connection([b"second"])
    connection.send(b"first")
    connection.data_received(GOOD[:cut])
    assert (counted(connection), wire.take()) == ((0, 0, 1), b"first")
    connection.data_received(GOOD[cut:])
    assert (counted(connection), wire.take()) == ((1, 0, 1), b"second")
    connection.data_received(GOOD)
    assert (counted(connection), wire.take()) == ((2, 0, 0), b"")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GOOD.replace(b"200", b"429"), id="refused"),
        pytest.param(GOOD.replace(b"good", b"evil"), id="other body"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", id="no body"),
    ],
)
def test_another_answer_is_a_failure(answer: bytes) -> None:
    connection, _ = json_connection([])
    connection.send(b"first")
    connection.data_received(answer)
    assert counted(connection) == (0, 1, 0)


def test_a_chunked_answer_is_put_together() -> None:
    connection, _ = json_connection([])
    connection.send(b"first")
    connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n")
    assert counted(connection) == (1, 0, 0)


def test_a_connection_that_is_lost_fails_its_call_and_no_other() -> None:
    connection, _ = json_connection([])
    connection.connection_lost(None)
    assert counted(connection) == (0, 0, 0)
    connection.send(b"first")
    connection.connection_lost(None)
    assert counted(connection) == (0, 1, 0)


def test_a_call_is_a_header_block_and_a_frame() -> None:
    connection, wire = grpc_connection([])
    call = h2.request("/a.B/C", b"message", {"x-d": "e"})
    connection.send(call)
    fields = dict(hpack.Decoder().decode(call.block, raw=True))
    assert (fields[b":path"], fields[b"content-type"], fields[b"x-d"]) == (b"/a.B/C", b"application/grpc", b"e")
    data = b"\x00" + (7).to_bytes(4) + b"message"
    assert wire.take() == frame(h2.HEADERS, END_HEADERS, 1, call.block) + frame(h2.DATA, END_STREAM, 1, data)


def test_answers_of_one_connection_are_told_apart_and_each_lets_one_request_go() -> None:
    first, second, third = (h2.request(f"/{name}", b"", {}) for name in "abc")
    connection, wire = grpc_connection([third])
    connection.send(first)
    connection.send(second)
    wire.take()
    good = frame(h2.DATA, 0, 3, b"\x00\x00\x00\x00\x04go") + frame(h2.DATA, 0, 3, b"od")
    connection.data_received(good + frame(h2.HEADERS, END_STREAM | END_HEADERS, 3, b"")[:-4])
    assert (counted(connection), wire.take()) == ((0, 0, 2), b"")
    connection.data_received(frame(h2.HEADERS, END_STREAM | END_HEADERS, 3, b"")[-4:])
    assert (counted(connection), wire.take()[9:-14]) == ((1, 0, 2), third.block)
    connection.data_received(frame(h2.HEADERS, END_STREAM | END_HEADERS, 1, b""))  # a refusal has no message
    assert counted(connection) == (1, 1, 1)
    connection.data_received(frame(h2.RST_STREAM, 0, 5, bytes(4)))
    assert counted(connection) == (1, 2, 0)


async def test_a_load_ends_when_the_other_side_hangs_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tally = Tally[bytes, http1.Answer](
        iter([http1.request("GET", "/", {})] * 10), lambda answer: int(answer.status == 200)
    )
    async with server:
        await drive_all(f"127.0.0.1:{port}", tally, http1.Connection, in_flight=2, connections=2)
    assert (tally.operations, tally.failed, len(list(tally.todo))) == (2, 2, 6)
