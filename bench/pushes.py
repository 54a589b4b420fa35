"""What a server pushes, cut into messages and looked at: WebSocket frames, and gRPC carried by HTTP/1.1's chunks.

Pure, and no more of RFC 6455, section 5.2, and RFC 9112, section 7.1, than a well-behaved server's side of them needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from scoreboard.v1 import stream_pb2

ROWS = 10
TEXT, PING, PONG = 0x1, 0x9, 0xA
GRPC_PREFIX_BYTES = 5


class Cut(NamedTuple):
    """The whole messages at the front of some bytes, what is to be said back, and how many of the bytes those took."""

    messages: list[bytes]
    replies: list[bytes]
    taken: int


class Board(NamedTuple):
    """What a message shows; no rows: a heartbeat."""

    version: float
    rows: tuple[tuple[str, float], ...]  # (user id, score), best first


@dataclass(frozen=True)
class Kind:
    """A kind of watcher: what it asks with, the answer's first line, and how it reads what is pushed then."""

    request: bytes
    answer: bytes
    cut: Callable[[bytes], Cut]
    read: Callable[[bytes], Board]


def cut_websocket(data: bytes) -> Cut:
    """Cuts frames; answers pings. Raises ValueError for the server's close, and for what ours never sends."""
    messages, replies = [], []
    at, end = 0, len(data)
    while at + 2 <= end:
        opcode, size, body = data[at], data[at + 1], at + 2
        if size >= 126:
            body += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : body]) if body <= end else end
        if body + size > end:
            break
        payload = data[body : body + size]
        at = body + size
        if opcode == 0x80 | TEXT:
            messages.append(payload)
        elif opcode == 0x80 | PING:
            replies.append(bytes((0x80 | PONG, 0x80 | size, 0, 0, 0, 0)) + payload)  # a mask of zeros is a mask
        else:
            raise ValueError(f"a frame that begins with {opcode:#x}: {payload[:100]!r}")
    return Cut(messages, replies, at)


def cut_grpc(data: bytes) -> Cut:
    """Cuts chunks of one gRPC frame each, as mesh.http1 writes them. Raises ValueError for the stream's end."""
    messages = []
    at, end = 0, len(data)
    while (line := data.find(b"\r\n", at)) >= 0:
        size, begin = int(data[at:line], 16), line + 2
        if begin + size + 2 > end and size:
            break
        prefix = data[begin : begin + GRPC_PREFIX_BYTES]
        if size < GRPC_PREFIX_BYTES or int.from_bytes(prefix) != size - GRPC_PREFIX_BYTES:
            raise ValueError(f"no frame of a stream: {data[at : at + 200]!r}")
        messages.append(data[begin + GRPC_PREFIX_BYTES : begin + size])
        at = begin + size + 2
    return Cut(messages, [], at)


def read_json(message: bytes) -> Board:
    """Returns the board that a WebSocket's message shows. Raises ValueError when it is none, or in no order."""
    shown = json.loads(message)
    if "leaderboard" not in shown:
        raise ValueError(f"no board: {message[:200]!r}")
    return _board(shown["version"], [(row["rank"], row["userId"], row["score"]) for row in shown["leaderboard"]])


def read_proto(message: bytes) -> Board:
    """Returns the board that a gRPC stream's message shows. Raises ValueError when it is in no order."""
    shown = stream_pb2.LeaderboardUpdate.FromString(message)
    return _board(shown.version, [(row.rank, row.user_id, row.score) for row in shown.leaderboard])


def _board(version: float, rows: list[tuple[int, str, float]]) -> Board:
    scores = [score for _, _, score in rows]
    if len(rows) not in (0, ROWS) or [rank for rank, _, _ in rows] != list(range(1, len(rows) + 1)):
        raise ValueError(f"the ranks of no top {ROWS}: {rows}")
    if scores != sorted(scores, reverse=True):
        raise ValueError(f"scores in no order: {rows}")
    return Board(version, tuple((user_id, score) for _, user_id, score in rows))


WEBSOCKET = Kind(
    b"GET /ws/leaderboard HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"HTTP/1.1 101 ",
    cut_websocket,
    read_json,
)
GRPC = Kind(
    b"POST /scoreboard.v1.StreamService/WatchLeaderboard HTTP/1.1\r\nhost: bench\r\ncontent-type: application/grpc\r\n"
    b"te: trailers\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\x00\x00\x00\x00\x00\r\n0\r\n\r\n",
    b"HTTP/1.1 200 ",
    cut_grpc,
    read_proto,
)
KINDS = {"websocket": WEBSOCKET, "grpc": GRPC}
