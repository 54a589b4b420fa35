"""The WebSocket of stream_svc: what clients may say, and what becomes of those that break the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import redis.asyncio
import websockets

from board import keys
from tests.servers import Database, RedisServer
from tests.watching import WAIT_S, Streams, streaming

TEXT, BINARY, PING, CONTINUATION, CLOSE = 0x1, 0x2, 0x9, 0x0, 0x8
FIN, RSV1, MASKED = 0x80, 0x40, 0x80


@pytest.fixture
async def streams(database: Database, redis_view: RedisServer, tmp_path: Path) -> AsyncIterator[Streams]:
    async with streaming(database, redis_view, tmp_path) as running:
        yield running


def raw_frame(first_byte: int, payload: bytes = b"", *, masked: bool = True, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    flag = MASKED if masked else 0
    if size < 126:
        head = bytes([first_byte, flag | size])
    elif size < 65_536:
        head = bytes([first_byte, flag | 126]) + struct.pack(">H", size)
    else:
        head = bytes([first_byte, flag | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Raw:
    """A client that may say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, receive_bytes: int = 65_536) -> Raw:
        own = sockets.socket()
        own.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        raw = cls(*await asyncio.open_connection(sock=own, limit=receive_bytes))
        raw.writer.write(
            b"GET /ws/leaderboard HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " in await raw._reader.readuntil(b"\r\n\r\n")
        assert (await raw.frame())[0] == FIN | TEXT  # the snapshot
        return raw

    async def frame(self) -> tuple[int, bytes]:
        """Returns the next frame: its first byte and its payload."""
        first, size = await asyncio.wait_for(self._reader.readexactly(2), WAIT_S)
        if size == 126:
            (size,) = struct.unpack(">H", await self._reader.readexactly(2))
        return first, await self._reader.readexactly(size)

    async def close_code(self) -> int | None:
        """Waits for the server's close and returns its code; None: it only hung up."""
        try:
            while True:
                first, payload = await self.frame()
                if first == FIN | CLOSE:
                    (code,) = struct.unpack(">H", payload[:2])
                    return int(code)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def is_forgotten(self, port: int) -> bool:
        """Whether the server's end of the connection is gone, told without reading."""
        own = self.writer.get_extra_info("sockname")[1]
        table = await asyncio.to_thread(Path("/proc/net/tcp").read_text)
        return f"0100007F:{port:04X} 0100007F:{own:04X} 01" not in table

    async def is_cut(self) -> bool:
        """Waits until the server hangs up."""
        try:
            return await asyncio.wait_for(self._reader.read(1), WAIT_S) == b""
        except ConnectionError:
            return True


async def test_watch_replaces_the_set_of_boards(streams: Streams) -> None:
    day = streams.boards.world.catalogue.boards["daily"]
    async with streams.socket() as socket:
        assert (await socket.next())["board"] == "all"
        await socket.say(watch=[{"board": "daily"}, {"board": "all", "limit": 1}])
        frames = [await socket.next(), await socket.next()]
        assert {(frame["board"], len(frame["leaderboard"])) for frame in frames} == {("daily", 0), ("all", 1)}
        await socket.say(watch=[])
        await socket.say(watch=[{"board": "weekly"}])
        assert (await socket.next())["board"] == "weekly"
        assert day.name == "daily"


BAD_MESSAGES: list[tuple[str | bytes, str]] = [
    ("nonsense", "INVALID_ARGUMENT"),
    ("[]", "INVALID_ARGUMENT"),
    ("null", "INVALID_ARGUMENT"),
    ("{}", "INVALID_ARGUMENT"),
    ('{"watch": [], "authorization": "Bearer x"}', "INVALID_ARGUMENT"),
    ('{"watch": {"board": "all"}}', "INVALID_ARGUMENT"),
    ('{"watch": ["all"]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": 1}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "limit": 0}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "limit": 101}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "limit": true}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all"}, {"board": "all", "limit": 5}]}', "INVALID_ARGUMENT"),
    (json.dumps({"watch": [{"board": f"b{n}"} for n in range(11)]}), "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "rows": 1}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "nowhere"}]}', "UNKNOWN_BOARD"),
    ('{"authorization": "Bearer nonsense"}', "TOKEN_INVALID"),
    ('{"authorization": 1}', "INVALID_ARGUMENT"),
    (b'{"watch": []}', "INVALID_ARGUMENT"),
    ("[" * 4000, "INVALID_ARGUMENT"),
]


async def test_a_bad_message_is_answered_and_the_board_goes_on(streams: Streams) -> None:
    async with streams.socket() as socket:
        await socket.next()
        for message, reason in BAD_MESSAGES:
            await socket.connection.send(message)
            refusal = await socket.refusal()
            assert set(refusal) == {"success", "error", "message", "reason"}
            assert refusal["reason"] == reason, message
        await streams.boards.score(1, 77)
        await socket.until(("p1", 77), ("p2", 10))


async def test_more_messages_than_can_be_answered_are_refused(streams: Streams) -> None:
    async with streams.socket() as socket:
        await socket.next()
        for _ in range(200):
            await socket.say(watch=[{"board": "nowhere"}])
        reasons = [(await socket.refusal())["reason"] for _ in range(200)]
        assert set(reasons) <= {"UNKNOWN_BOARD", "RATE_LIMITED"}


async def test_a_token_brings_the_own_place_until_the_session_ends(streams: Streams, redis_view: RedisServer) -> None:
    async with streams.socket() as socket:
        assert "me" not in await socket.next()
        await socket.say(authorization=streams.bearer("p2", sid="left"))
        assert (await socket.next())["me"] == {"rank": 2, "score": 10}
        async with redis.asyncio.Redis.from_url(redis_view.url("auth_svc")) as auth:
            await auth.set(keys.deny("left"), "1")
        assert (await socket.refusal())["reason"] == "SESSION_REVOKED"
        await streams.boards.score(2, 11)
        assert "me" not in await socket.until(("p1", 20), ("p2", 11))
        await socket.say(authorization=streams.bearer("p2"))
        assert (await socket.next())["me"] == {"rank": 2, "score": 11}


async def test_an_oversized_message_closes(streams: Streams) -> None:
    async with streams.socket() as socket:
        await socket.next()
        await socket.connection.send("x" * 4097)
        assert await socket.close_code() == 1009


async def test_a_message_in_fragments_counts_as_one(streams: Streams) -> None:
    raw = await Raw.open(streams.http_port)
    text = json.dumps({"watch": [{"board": "weekly"}]}).encode()
    raw.writer.write(raw_frame(TEXT, text[:9]) + raw_frame(FIN | PING, b"hi") + raw_frame(CONTINUATION, b""))
    raw.writer.write(raw_frame(FIN | CONTINUATION, text[9:]))
    assert await raw.frame() == (FIN | 0xA, b"hi")
    first, payload = await raw.frame()
    assert first == FIN | TEXT
    assert json.loads(payload)["board"] == "weekly"
    raw.writer.close()


BROKEN: list[tuple[bytes, int]] = [
    (raw_frame(FIN | TEXT, b"{}", masked=False), 1002),
    (raw_frame(FIN | RSV1 | TEXT, b"{}"), 1002),
    (raw_frame(FIN | 0x3, b"{}"), 1002),
    (raw_frame(FIN | CONTINUATION, b"{}"), 1002),
    (raw_frame(TEXT, b"{") + raw_frame(FIN | TEXT, b"}"), 1002),
    (raw_frame(PING, b"half"), 1002),
    (raw_frame(FIN | PING, b"x" * 126), 1002),
    (raw_frame(FIN | TEXT, b"\xff\xfe"), 1007),
    (raw_frame(FIN | TEXT, "\ud800".encode("utf-8", "surrogatepass")), 1007),
    (raw_frame(TEXT, b"\xe2") + raw_frame(FIN | CONTINUATION, b"\x28\xa1"), 1007),
    (raw_frame(FIN | TEXT, length=2**40), 1009),
    (raw_frame(TEXT, b"x" * 4096) + raw_frame(FIN | CONTINUATION, b"x"), 1009),
    (raw_frame(TEXT) + 5000 * raw_frame(CONTINUATION), 1009),
    (raw_frame(FIN | CLOSE, struct.pack(">H", 1005)), 1002),
    (raw_frame(FIN | CLOSE, struct.pack(">H", 999)), 1002),
    (raw_frame(FIN | CLOSE, b"\x03"), 1002),
    (raw_frame(FIN | CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    (raw_frame(FIN | CLOSE, struct.pack(">H", 3001) + b"bye"), 3001),
    (raw_frame(FIN | CLOSE), 1000),
]


async def test_who_breaks_the_protocol_is_told_and_hung_up_on(streams: Streams) -> None:
    async with streams.socket() as bystander:
        await bystander.next()
        for data, code in BROKEN:
            raw = await Raw.open(streams.http_port)
            raw.writer.write(data)
            assert await raw.close_code() == code, data[:20]
            assert await raw.is_cut()
            raw.writer.close()
        await streams.boards.score(1, 78)
        await bystander.until(("p1", 78), ("p2", 10))


async def test_whatever_is_no_websocket_gets_the_error_body(streams: Streams) -> None:
    base = f"http://127.0.0.1:{streams.http_port}"
    async with httpx.AsyncClient() as http:
        plain = await http.get(f"{base}/ws/leaderboard")
        assert (plain.status_code, plain.json()["reason"]) == (426, "INVALID_ARGUMENT")
        assert plain.headers["sec-websocket-version"] == "13"
        elsewhere = await http.get(f"{base}/ws/other")
        assert (elsewhere.status_code, elsewhere.json()["reason"]) == (404, "NOT_FOUND")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://127.0.0.1:{streams.http_port}/ws")
    assert refused.value.response.status_code == 404


async def test_past_the_bound_on_watchers_newcomers_are_refused(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with streaming(database, redis_view, tmp_path, settings={"stream_watchers_max": 2}) as streams:
        async with streams.socket() as one, streams.socket() as two:
            await one.next()
            await two.next()
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(streams.url)
            assert refused.value.response.status_code == 429
            assert json.loads(refused.value.response.body or b"")["reason"] == "QUEUE_FULL"
            await one.say(watch=[{"board": "daily"}, {"board": "weekly"}])
            assert (await one.refusal())["reason"] == "QUEUE_FULL"
        async with streams.socket() as three:
            await three.next()


async def test_a_client_that_stops_reading_is_cut_off_and_harms_nobody(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    settings = {"stream_write_timeout_s": 2}
    async with streaming(database, redis_view, tmp_path, players=100, settings=settings) as streams:
        for number in range(1, 101):
            await streams.boards.score(number, number)
        slow = await Raw.open(streams.http_port, receive_bytes=4096)
        slow.writer.write(raw_frame(FIN | TEXT, json.dumps({"watch": [{"board": "all", "limit": 100}]}).encode()))
        async with streams.socket() as quick:
            score = 1000
            while not await slow.is_forgotten(streams.http_port):  # it reads nothing from here on
                score += 1
                assert score < 20_000, "the client that does not read was never cut off"
                await streams.boards.score(1, score)
                frame = await quick.next()
                while not frame["leaderboard"] or frame["leaderboard"][0]["score"] != score:
                    frame = await quick.next()
        slow.writer.close()
