"""The gateway's hop by itself: gRPC over HTTP/1.1, hostile bytes, callers that leave, readers that do not read."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.call import Call
from mesh.http1 import Http1Server
from mesh.http1_connection import BODY_BYTES_MAX, HEAD_BYTES_MAX
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.rpc import PUBLIC, REQUEST_BYTES_MAX, Calls, Service
from scoreboard.local.ports import Ports
from scoreboard.v1 import leaderboard_pb2, stream_pb2
from tests.sizes import SHARING
from tests.waiting import SCALE, eventually

GET_RANK = "/scoreboard.v1.LeaderboardService/GetRank"
WATCH = "/scoreboard.v1.StreamService/WatchLeaderboard"
PATIENCE_S = 10 * SCALE
WRITE_TIMEOUT_S = 0.3
FRAME = b"\x7f" * 50_000
HOSTILE = settings(max_examples=150, suppress_health_check=SHARING)


@dataclass
class Servicer:
    """Answers as the test sets it, and keeps what it saw."""

    seen: list[tuple[Message, Call]] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: int = 0
    frames: int = 3
    refuse_after: int | None = None
    watching: list[Call] = field(default_factory=list)
    wanted: asyncio.Queue[list[bytes] | None] = field(default_factory=asyncio.Queue)  # to yield; None ends the stream

    async def get_rank(self, request: leaderboard_pb2.GetRankRequest, call: Call) -> leaderboard_pb2.GetRankResponse:
        self.seen.append((request, call))
        if request.user_id == "refuse":
            raise Refused(Reason.UNKNOWN_USER, "No player “ä” %", retry_after_s=2, user_id="refuse")
        if request.user_id == "break":
            raise ZeroDivisionError("a secret")
        if request.user_id == "wait":
            try:
                await self.may_answer.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        call.answer["etag"] = '"7"' if request.user_id != "not ascii" else "“7”"
        return leaderboard_pb2.GetRankResponse(user_id=request.user_id)

    async def watch_leaderboard(self, request: stream_pb2.WatchLeaderboardRequest, call: Call) -> AsyncIterator[bytes]:
        self.watching.append(call)
        try:
            while request.board == "wanted" and (frames := await self.wanted.get()) is not None:
                for frame in frames:
                    yield frame
            for number in range(self.frames):
                if number == self.refuse_after:
                    raise Refused(Reason.SESSION_REVOKED, "Log in again.")
                yield FRAME
        finally:
            self.cancelled += 1


@dataclass
class World:
    """A server on a port, and connections to it."""

    server: Http1Server
    servicer: Servicer
    port: int

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    async def ask(self, path: str, message: bytes, **headers: str) -> Answer:
        async with self.connected() as connection:
            return await connection.ask(path, message, **headers)


@dataclass
class Answer:
    """An answer's status line, headers, frames and trailers; a refusal's status stands among the headers."""

    line: str
    headers: dict[str, str]
    frames: list[bytes]
    trailers: dict[str, str]

    @property
    def status(self) -> str:
        return (self.headers | self.trailers)["grpc-status"]

    @property
    def reason(self) -> str:
        info = error_details_pb2.ErrorInfo()
        self.details.details[0].Unpack(info)
        return str(info.reason)

    @property
    def details(self) -> status_pb2.Status:
        import base64

        text = (self.headers | self.trailers)["grpc-status-details-bin"]
        return status_pb2.Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))


@dataclass
class Connection:
    """A client that speaks as Envoy does."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def reading(self) -> asyncio.ReadTransport:
        assert isinstance(self.writer.transport, asyncio.ReadTransport)
        return self.writer.transport

    def send(self, path: str, message: bytes, flag: int = 0, **headers: str) -> None:
        body = bytes([flag]) + len(message).to_bytes(4) + message
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc\r\nte: trailers\r\n{more}"
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self.writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunk)

    async def ask(self, path: str, message: bytes, **headers: str) -> Answer:
        self.send(path, message, 0, **headers)
        return await self.answer()

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            line, headers = await self._head()
            frames, trailers = [], {}
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    frames.append((await self.reader.readexactly(size + 2))[5:-2])
                _, trailers = "", await self._fields()
            elif int(headers["content-length"]):
                frames.append(await self.reader.readexactly(int(headers["content-length"])))
            return Answer(line, headers, frames, trailers)

    async def _head(self) -> tuple[str, dict[str, str]]:
        line = (await self.reader.readline()).decode().strip()
        assert line, "the connection ended"
        return line, await self._fields()

    async def _fields(self) -> dict[str, str]:
        found = {}
        while line := (await self.reader.readline()).decode().strip():
            name, _, value = line.partition(": ")
            found[name] = value
        return found

    async def is_ended(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.reader.read(2**16):
                    pass
        except ConnectionError:
            pass
        return True


@pytest.fixture
async def world() -> AsyncIterator[World]:
    servicer, ports = Servicer(), Ports()
    modules = {"LeaderboardService": leaderboard_pb2, "StreamService": stream_pb2}
    services = []
    for name, module in modules.items():
        descriptor = module.DESCRIPTOR.services_by_name[name]
        own = [method.name for method in descriptor.methods if method.name in ("GetRank", "WatchLeaderboard")]
        access = {method.name: PUBLIC for method in descriptor.methods}
        services.append(Service(descriptor, _Padded(servicer, own), access))
    port = ports.take("http1")
    ports.release_all()
    server = Http1Server(services, Calls(None), WRITE_TIMEOUT_S)
    await server.start("127.0.0.1", port)
    yield World(server, servicer, port)
    await server.stop(0)


class _Padded:
    """The servicer, with methods that no test calls."""

    def __init__(self, servicer: Servicer, own: list[str]) -> None:
        self._servicer = servicer

    def __getattr__(self, name: str) -> object:
        return getattr(self._servicer, name, None)


def rank_of(user_id: str) -> bytes:
    return leaderboard_pb2.GetRankRequest(user_id=user_id).SerializeToString()


async def test_a_call_is_answered_with_its_metadata_and_the_connection_stays(world: World) -> None:
    async with world.connected() as connection:
        for name in ("ann", "ben"):
            answer = await connection.ask(GET_RANK, rank_of(name), authorization="Bearer x", x_signature="s")
            assert leaderboard_pb2.GetRankResponse.FromString(answer.frames[0]).user_id == name
            assert (answer.status, answer.headers["etag"]) == ("0", '"7"')
    _, call = world.servicer.seen[0]
    assert (call.metadata["authorization"], call.metadata["x-signature"]) == ("Bearer x", "s")


async def test_trailers_add_nothing_to_headers(world: World) -> None:
    async with world.connected() as connection:
        head = f"POST {GET_RANK} HTTP/1.1\r\ncontent-type: application/grpc\r\nx-forwarded-for: 1.1.1.1\r\n"
        chunk = b"transfer-encoding: chunked\r\n\r\n5\r\n" + bytes(5) + b"\r\n0\r\n"
        connection.writer.write(head.encode() + chunk + b"x-forwarded-for: 9.9.9.9\r\nx-more: 1\r\n\r\n")
        assert (await connection.answer()).status == "0"
    _, call = world.servicer.seen[0]
    assert call.metadata["x-forwarded-for"] == "1.1.1.1"
    assert "x-more" not in call.metadata


async def test_an_answer_that_cannot_be_written_ends_the_connection(world: World) -> None:
    async with world.connected() as connection:
        connection.send(GET_RANK, rank_of("not ascii"))
        assert await connection.is_ended()
    assert (await world.ask(GET_RANK, rank_of("ann"))).status == "0"


async def test_a_refusal_is_headers_alone_with_its_details(world: World) -> None:
    answer = await world.ask(GET_RANK, rank_of("refuse"))
    assert (answer.status, answer.reason, answer.frames) == ("5", "UNKNOWN_USER", [])
    assert answer.headers["grpc-message"] == "No player %E2%80%9C%C3%A4%E2%80%9D %25"
    assert answer.details.message == "No player “ä” %"


async def test_what_breaks_says_nothing_of_our_inside(world: World) -> None:
    answer = await world.ask(GET_RANK, rank_of("break"))
    assert (answer.status, answer.reason) == ("13", "INTERNAL")
    assert "secret" not in str(answer)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_requests_are_understood(world: World, encoding: str, pack: object) -> None:
    assert callable(pack)
    async with world.connected() as connection:
        connection.send(GET_RANK, pack(rank_of("ann")), flag=1, grpc_encoding=encoding)
        answer = await connection.answer()
    assert leaderboard_pb2.GetRankResponse.FromString(answer.frames[0]).user_id == "ann"


async def test_a_small_request_that_unpacks_to_too_much_is_refused(world: World) -> None:
    async with world.connected() as connection:
        bomb = gzip.compress(bytes(64 * REQUEST_BYTES_MAX))
        connection.send(GET_RANK, bomb, flag=1, grpc_encoding="gzip")
        assert (await connection.answer()).reason == "TOO_LARGE"


@pytest.mark.parametrize(
    ("flag", "message", "encoding"),
    [
        (0, b"\xff", "identity"),
        (1, b"no gzip", "gzip"),
        (1, gzip.compress(b"cut off, as it is")[:-9], "gzip"),
        (1, b"", "snappy"),
    ],
    ids=["no message", "not packed", "cut off", "unknown packing"],
)
async def test_what_is_no_message_is_refused(world: World, flag: int, message: bytes, encoding: str) -> None:
    async with world.connected() as connection:
        connection.send(GET_RANK, message, flag=flag, grpc_encoding=encoding)
        assert (await connection.answer()).reason == "INVALID_ARGUMENT"
        assert (await connection.ask(GET_RANK, rank_of("ann"))).status == "0"


async def test_a_body_that_is_not_one_frame_is_refused(world: World) -> None:
    for body in (b"", b"\x00\x00", b"\x00\x00\x00\x00\x09abc", b"\x00\x00\x00\x00\x01abc"):
        async with world.connected() as connection:
            head = f"POST {GET_RANK} HTTP/1.1\r\ncontent-type: application/grpc\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.writer.write(head.encode() + body)
            assert (await connection.answer()).reason == "INVALID_ARGUMENT"


async def test_too_much_is_refused_in_words_and_far_too_much_is_cut_off(world: World) -> None:
    answer = await world.ask(GET_RANK, bytes(REQUEST_BYTES_MAX + 1))
    assert answer.reason == "TOO_LARGE"
    async with world.connected() as connection:
        connection.send(GET_RANK, bytes(BODY_BYTES_MAX + 1))
        assert await connection.is_ended()
    async with world.connected() as connection:
        connection.writer.write(b"POST / HTTP/1.1\r\nx: " + b"a" * (HEAD_BYTES_MAX + 1))
        assert (await connection.answer()).line == "HTTP/1.1 431 Request Header Fields Too Large"
        assert await connection.is_ended()


async def test_unknown_methods_and_other_content_are_unimplemented(world: World) -> None:
    assert (await world.ask("/scoreboard.v1.LeaderboardService/Nope", b"")).status == "12"
    async with world.connected() as connection:
        connection.writer.write(f"POST {GET_RANK} HTTP/1.1\r\ncontent-length: 0\r\n\r\n".encode())
        assert (await connection.answer()).status == "12"


async def test_a_deadline_ends_the_call(world: World) -> None:
    answer = await world.ask(GET_RANK, rank_of("wait"), grpc_timeout="20m")
    assert (answer.status, answer.reason) == ("4", "DEADLINE_EXCEEDED")
    await eventually(lambda: world.servicer.cancelled == 1, what="the end of the call")
    _, call = world.servicer.seen[0]
    assert call.deadline is not None


async def test_a_deadline_ends_a_stream_by_its_trailers(world: World) -> None:
    world.servicer.frames = 10**9
    async with world.connected() as connection:
        connection.send(WATCH, b"", grpc_timeout="100m")
        answer = await connection.answer()
    assert answer.frames
    assert answer.trailers["grpc-status"] == "4"


async def test_a_caller_that_leaves_ends_the_call(world: World) -> None:
    async with world.connected() as connection:
        connection.send(GET_RANK, rank_of("wait"))
        await eventually(lambda: world.servicer.seen, what="the call")
    await eventually(lambda: world.servicer.cancelled == 1, what="the end of the call")
    await eventually(lambda: not world.server.shared.connections, what="the end of the connection")


async def test_a_stream_is_whole_and_ends_with_its_status(world: World) -> None:
    async with world.connected() as connection:
        answer = await connection.ask(WATCH, b"")
        assert (answer.frames, answer.trailers) == ([FRAME] * 3, {"grpc-status": "0"})
        world.servicer.refuse_after = 2
        answer = await connection.ask(WATCH, b"")
        assert (len(answer.frames), answer.reason) == (2, "SESSION_REVOKED")
        world.servicer.refuse_after = 0
        answer = await connection.ask(WATCH, b"")
        assert (answer.frames, answer.headers["grpc-status"]) == ([], "16")
        world.servicer.frames = 0
        assert (await connection.ask(WATCH, b"")).trailers == {"grpc-status": "0"}


async def test_a_reader_that_does_not_read_is_cut_off(world: World) -> None:
    world.servicer.frames = 10**9
    async with world.connected() as connection:
        connection.send(WATCH, b"")
        await eventually(lambda: world.servicer.cancelled == 1, what="the end of the stream")
        answer = await connection.answer()  # it reads after all
        assert (answer.trailers["grpc-status"], answer.reason) == ("8", "SLOW_CONSUMER")
        assert await connection.is_ended()
    async with world.connected() as connection:
        connection.send(WATCH, b"")
        await eventually(lambda: world.servicer.cancelled == 2, what="the end of the stream")
        (each,) = world.server.shared.connections
        each.end_if_late(each.since + 59)
        assert each in world.server.shared.connections
        each.end_if_late(each.since + 61)
        await eventually(lambda: not world.server.shared.connections, what="the end of the connection")


WANTED = stream_pb2.WatchLeaderboardRequest(board="wanted").SerializeToString()


async def begun(world: World, connection: Connection) -> Call:
    """Returns a stream's call after its first frame, FRAME."""
    world.servicer.frames = 0  # beside those that are wanted
    connection.send(WATCH, WANTED)
    count = len(world.servicer.watching) + 1
    await eventually(lambda: len(world.servicer.watching) == count, what="the call")
    call = world.servicer.watching[-1]
    assert not call.push(never_asked)  # the first frame must be yielded
    world.servicer.wanted.put_nowait([FRAME])
    await eventually(lambda: call.push(list), what="the first frame")
    return call


async def stuck(connection: Connection, call: Call) -> None:
    """Reads no more, and pushes until nothing more can be."""
    connection.reading.pause_reading()
    await eventually(lambda: not call.push(lambda: [FRAME] * 100), what="a reader that does not read")


def never_asked() -> list[bytes]:
    raise AssertionError("what cannot be written must not be taken")


async def test_pushed_frames_stand_behind_those_that_were_yielded(world: World) -> None:
    async with world.connected() as connection:
        call = await begun(world, connection)
        assert call.push(lambda: [b"a", b"b"])
        world.servicer.wanted.put_nowait([b"c"])
        await eventually(lambda: world.servicer.wanted.empty(), what="the frame that is yielded")
        assert call.push(lambda: [b"d", b"d"])
        world.servicer.wanted.put_nowait(None)
        answer = await connection.answer()
        assert (answer.frames, answer.status) == ([FRAME, b"a", b"b", b"c", b"d", b"d"], "0")


async def test_a_call_that_ended_pushes_nothing_into_the_next_on_its_connection(world: World) -> None:
    async with world.connected() as connection:
        ended = await begun(world, connection)
        world.servicer.wanted.put_nowait(None)
        assert (await connection.answer()).status == "0"
        await begun(world, connection)
        assert not ended.push(never_asked)
        world.servicer.wanted.put_nowait(None)
        assert (await connection.answer()).frames == [FRAME]
        gone = await begun(world, connection)
    await eventually(lambda: not world.server.shared.connections, what="the end of the connection")
    assert not gone.push(never_asked)


async def test_nothing_is_pushed_before_a_slow_reader_has_what_was_yielded(world: World) -> None:
    async with world.connected() as connection:
        world.server.shared.write_timeout_s = PATIENCE_S
        call = await begun(world, connection)
        await stuck(connection, call)
        world.servicer.wanted.put_nowait([b"yielded 1", b"yielded 2"])
        await eventually(lambda: world.servicer.wanted.empty(), what="the frames that are yielded")
        answer = asyncio.create_task(connection.answer())
        connection.reading.resume_reading()
        while not call.push(lambda: [b"pushed"]):  # noqa: ASYNC110 -- the first moment that it can be
            await asyncio.sleep(0)
        world.servicer.wanted.put_nowait(None)
        assert (await answer).frames[-3:] == [b"yielded 1", b"yielded 2", b"pushed"]


async def test_a_reader_that_does_not_read_what_is_pushed_is_cut_off(world: World) -> None:
    async with world.connected() as connection:
        call = await begun(world, connection)
        await stuck(connection, call)
        world.servicer.wanted.put_nowait([FRAME])  # what could not be pushed
        await eventually(lambda: world.servicer.cancelled == 1, what="the end of the stream")
        connection.reading.resume_reading()
        assert (await connection.answer()).reason == "SLOW_CONSUMER"


async def test_a_deadline_ends_a_stream_that_is_pushed(world: World) -> None:
    async with world.connected() as connection:
        world.servicer.frames = 0
        connection.send(WATCH, WANTED, grpc_timeout=f"{SCALE:.0f}S")
        world.servicer.wanted.put_nowait([FRAME])
        await eventually(lambda: world.servicer.watching, what="the call")
        (call,) = world.servicer.watching
        await eventually(lambda: call.push(lambda: [b"pushed"]), what="the first frame")
        answer = await connection.answer()
        assert (answer.frames, answer.status) == ([FRAME, b"pushed"], "4")
        assert not call.push(never_asked)


async def test_a_second_request_before_the_answer_ends_the_connection(world: World) -> None:
    async with world.connected() as connection:
        connection.send(GET_RANK, rank_of("wait"))
        await eventually(lambda: world.servicer.seen, what="the call")
        connection.send(GET_RANK, rank_of("ann"))
        assert await connection.is_ended()
    assert (await world.ask(GET_RANK, rank_of("ann"))).status == "0"


async def test_draining_ends_liveness_then_idle_connections_and_lets_calls_finish(world: World) -> None:
    async with world.connected() as idle, world.connected() as busy, world.connected() as probe:
        assert (await idle.ask(GET_RANK, rank_of("ann"))).status == "0"
        busy.send(GET_RANK, rank_of("wait"))
        await eventually(lambda: len(world.servicer.seen) == 2, what="the call")
        world.server.drain()
        probe.writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await probe.answer()).line.startswith("HTTP/1.1 503")
        stop = asyncio.create_task(world.server.stop(PATIENCE_S))
        assert await idle.is_ended()
        assert not stop.done()
        world.servicer.may_answer.set()
        assert (await busy.answer()).status == "0"
        await stop
        assert await busy.is_ended()


async def test_a_call_that_outlasts_the_grace_is_ended(world: World) -> None:
    async with world.connected() as connection:
        connection.send(GET_RANK, rank_of("wait"))
        await eventually(lambda: world.servicer.seen, what="the call")
        await world.server.stop(0.05)
        assert await connection.is_ended()
        await eventually(lambda: world.servicer.cancelled == 1, what="the end of the call")


async def test_requests_and_connections_that_dawdle_are_ended(world: World) -> None:
    async with world.connected() as connection:
        connection.writer.write(b"POST /half HTTP/1.1\r\n")
        connections = world.server.shared.connections
        await eventually(lambda: any(each.is_receiving for each in connections), what="a request begun")
        for each in list(connections):
            each.end_if_late(each.since + 1)
            assert each in world.server.shared.connections
            each.end_if_late(each.since + 21)
        assert await connection.is_ended()


_pieces = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"POST " + GET_RANK.encode() + b" HTTP/1.1\r\n",
            b"GET /livez HTTP/1.1\r\n\r\n",
            b"content-type: application/grpc\r\n",
            b"content-length: 5\r\n",
            b"content-length: 99999999999999999999\r\n",
            b"transfer-encoding: chunked\r\n",
            b"connection: upgrade\r\nupgrade: h2c\r\n",
            b"grpc-timeout: 99999999H\r\n",
            b"\r\n",
            b"5\r\n\x00\x00\x00\x00\x00\r\n0\r\n\r\n",
            b"\x00\x00\x00\x00\x00",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    ),
)


@HOSTILE
@given(st.lists(_pieces, max_size=12))
async def test_whatever_bytes_come_others_are_served(world: World, pieces: list[bytes]) -> None:
    async with world.connected() as hostile:
        for piece in pieces:
            hostile.writer.write(piece)
        hostile.writer.write_eof()
        await hostile.is_ended()
    await eventually(lambda: not world.server.shared.connections, what="the end of the connection")
    assert (await world.ask(GET_RANK, rank_of("ann"))).status == "0"
