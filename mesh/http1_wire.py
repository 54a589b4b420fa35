"""gRPC over HTTP/1.1 as bytes: what is read of a request, and the pieces that an answer is made of.

Pure. An answer is chunked and ends with the trailer `grpc-status`; a refusal is headers alone
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, with HTTP/1.1's framing).
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from mesh.reasons import CODES
from mesh.refusal import Refused, to_status
from mesh.rpc import REQUEST_BYTES_MAX, not_the_message, too_large

PREFIX_BYTES = 5  # of a gRPC frame: a flag and the length

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-accept-encoding: identity,deflate,gzip\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
END_OK = b"0\r\ngrpc-status: 0\r\n\r\n"
_WINDOW_BITS = {"gzip": 31, "deflate": 15}  # zlib.decompressobj's
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_PRINTABLE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


def to_seconds(text: str) -> float | None:
    """Returns what a grpc-timeout says, None for what is none."""
    match = _TIMEOUT.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def decompressed(message: bytes, encoding: str) -> bytes:
    """Returns a message as it was before it was packed. Raises Refused, also past REQUEST_BYTES_MAX."""
    if encoding not in _WINDOW_BITS:
        raise not_the_message()
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = unpacker.decompress(message, REQUEST_BYTES_MAX + 1)
    except zlib.error as e:
        raise not_the_message() from e
    if len(plain) > REQUEST_BYTES_MAX:
        raise too_large()
    if not unpacker.eof:
        raise not_the_message()
    return plain


def to_chunk(message: bytes) -> bytes:
    """Returns a message in its gRPC frame, which is one chunk of the body."""
    size = len(message)
    return b"%x\r\n\x00%b%b\r\n" % (size + PREFIX_BYTES, size.to_bytes(4), message)


#: For what is pushed to thousands: made once. What a few of the biggest take is kept, no more.
to_shared_chunk = lru_cache(maxsize=32)(to_chunk)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Returns the headers, or trailers, as they are sent."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii") if headers else b""


def headers_only(code: int, message: str, details: bytes = b"") -> bytes:
    """Returns an answer that is a refusal and nothing else. code: gRPC's; details: a google.rpc.Status."""
    return b"".join((HEAD, b"content-length: 0\r\n", _status(code, message, details), b"\r\n"))


def trailers(refused: Refused) -> bytes:
    """Returns the end of an answer that has begun, and is a refusal after all."""
    return b"".join((b"0\r\n", _status(*status_of(refused)), b"\r\n"))


def status_of(refused: Refused) -> tuple[int, str, bytes]:
    """Returns what `headers_only` takes."""
    return CODES[refused.reason].value[0], refused.message, to_status(refused).SerializeToString()


def _status(code: int, message: str, details: bytes) -> bytes:
    lines = {"grpc-status": str(code), "grpc-message": quote(message, safe=_PRINTABLE)}
    if details:
        lines["grpc-status-details-bin"] = base64.b64encode(details).decode().rstrip("=")
    return header_lines(lines)


def plain_answer(status: int, text: str) -> bytes:
    """Returns an answer that is no gRPC: a few words."""
    head = f"HTTP/1.1 {status} {text}\r\ncontent-type: text/plain\r\ncontent-length: {len(text)}\r\n\r\n"
    return f"{head}{text}".encode("ascii")
