"""A WebSocket client that may say anything: frames byte by byte (RFC 6455, section 5.2)."""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import struct
from pathlib import Path

from tests.waiting import SCALE

WAIT_S = 20.0 * SCALE
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3, MASKED = 0x80, 0x40, 0x20, 0x10, 0x80
HANDSHAKE = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def raw_frame(first_byte: int, payload: bytes = b"", *, masked: bool = True, length: int | None = None) -> bytes:
    """Returns a frame. length: what the head says, when that is not the payload's."""
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


def handshake(headers: dict[str, str] | None = None, method: str = "GET", path: str = "/ws/leaderboard") -> bytes:
    """Returns the bytes of a handshake. headers: in place of HANDSHAKE's; an empty one is left out."""
    lines = [f"{name}: {value}" for name, value in (HANDSHAKE | (headers or {})).items() if value]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


class Raw:
    """An open WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, receive_bytes: int = 65_536) -> Raw:
        """Connects to 127.0.0.1 and takes the first frame, the snapshot."""
        own = sockets.socket()
        own.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        raw = cls(*await asyncio.open_connection(sock=own, limit=receive_bytes))
        raw.writer.write(handshake())
        assert b" 101 " in await raw._reader.readuntil(b"\r\n\r\n")
        assert (await raw.frame())[0] == FIN | TEXT
        return raw

    async def frame(self) -> tuple[int, bytes]:
        """Returns the next frame: its first byte and its payload."""
        first, size = await asyncio.wait_for(self._reader.readexactly(2), WAIT_S)
        if size == 126:
            (size,) = struct.unpack(">H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self._reader.readexactly(8))
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
