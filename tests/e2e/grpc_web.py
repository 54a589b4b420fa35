"""A gRPC-Web client: frames over HTTP/1.1, as browsers send them (github.com/grpc/grpc, PROTOCOL-WEB)."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from urllib.parse import unquote

import httpx
from google.protobuf.message import Message

TRAILERS = 0x80


@dataclass(frozen=True)
class Answer:
    """What came back: the HTTP status, the messages, and status, words and details wherever they stood."""

    http_status: int
    messages: list[bytes]
    headers: dict[str, str]

    @property
    def code(self) -> int:
        """The gRPC code."""
        return int(self.headers["grpc-status"])

    @property
    def details(self) -> bytes:
        """The google.rpc.Status, serialised."""
        text = self.headers.get("grpc-status-details-bin", "")
        return base64.b64decode(text + "=" * (-len(text) % 4))

    @property
    def message(self) -> str:
        """The status' words."""
        return unquote(self.headers.get("grpc-message", ""))


def frame(message: Message) -> bytes:
    """Returns a message with its five bytes in front."""
    body = message.SerializeToString()
    return struct.pack(">BI", 0, len(body)) + body


async def call(client: httpx.AsyncClient, path: str, message: Message, headers: dict[str, str]) -> Answer:
    """Makes a unary call, or reads a stream to its end."""
    head = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
    response = await client.post(path, content=frame(message), headers=head)
    body, messages, trailers = response.content, [], dict(response.headers)
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        payload, body = body[5 : 5 + length], body[5 + length :]
        if flags & TRAILERS:
            lines = (line.split(":", 1) for line in payload.decode().split("\r\n") if line)
            trailers |= {name.strip().lower(): value.strip() for name, value in lines}
        else:
            messages.append(payload)
    return Answer(response.status_code, messages, trailers)
