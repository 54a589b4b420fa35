"""A gRPC load generator whose own cost is small beside what it measures: prepared frames, and no more of HTTP/2 than
unary calls need (RFC 9113). h2load cannot vary a request's body, and grpcio's client costs more than an update does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import hpack

from bench import tally

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
WINDOW_BYTES = 2**31 - 1
FRAME_HEAD_BYTES = 9
GRPC_PREFIX_BYTES = 5


@dataclass(frozen=True, slots=True)
class Request:
    """A call, encoded: the header block, and the gRPC frame."""

    block: bytes
    body: bytes


def request(path: str, message: bytes, metadata: Mapping[str, str]) -> Request:
    """Returns a unary call, encoded once."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0  # each block stands alone, whichever connection and order it goes in
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "bench", "te": "trailers"}
    fields |= {"content-type": "application/grpc"} | dict(metadata)
    block = encoder.encode(list(fields.items()), huffman=False)
    return Request(block, b"\x00" + len(message).to_bytes(4) + message)


class Connection(tally.Connection[Request, bytes]):
    """One connection, which carries as many calls at a time as are sent."""

    def __init__(self, counts: tally.Tally[Request, bytes]) -> None:
        super().__init__(counts)
        self._unread = b""
        self._next_id = 1
        self._calls: dict[int, tuple[float, list[bytes]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the preface, with windows of 2 GB, more than a case's answers take."""
        super().connection_made(transport)
        settings = b"\x00\x02" + bytes(4) + b"\x00\x04" + WINDOW_BYTES.to_bytes(4)  # no push, the streams' window
        grown = (WINDOW_BYTES - 65_535).to_bytes(4)
        self.transport.write(PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, grown))

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts what was on its way as failed."""
        for began, _ in self._calls.values():
            self.tally.ended(began, None)

    def send(self, request: Request) -> None:
        """Sends a call now."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._calls[stream_id] = (self.tally.began(), [])
        self.transport.write(
            _frame(HEADERS, END_HEADERS, stream_id, request.block) + _frame(DATA, END_STREAM, stream_id, request.body)
        )

    def data_received(self, data: bytes) -> None:
        """Takes frames."""
        data = self._unread + data if self._unread else data
        at, end = 0, len(data)
        while at + FRAME_HEAD_BYTES <= end:
            size = int.from_bytes(data[at : at + 3])
            if at + FRAME_HEAD_BYTES + size > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream_id = int.from_bytes(data[at + 5 : at + 9])
            self._on_frame(kind, flags, stream_id, data[at + FRAME_HEAD_BYTES : at + FRAME_HEAD_BYTES + size])
            at += FRAME_HEAD_BYTES + size
        self._unread = data[at:]

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == DATA:
            self._calls[stream_id][1].append(payload)
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self._on_answer(stream_id)
        elif kind == SETTINGS and not flags & ACK:
            self.transport.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.transport.write(_frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise ConnectionError("the gateway ended the connection")

    def _on_answer(self, stream_id: int) -> None:
        began, parts = self._calls.pop(stream_id)
        self.tally.ended(began, b"".join(parts)[GRPC_PREFIX_BYTES:] if parts else None)
        self.send_next()


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3), kind, flags, stream_id.to_bytes(4), payload)
