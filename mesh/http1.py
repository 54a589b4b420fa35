"""gRPC carried by HTTP/1.1, as Envoy sends it to a cluster with `enable_trailers`: a third of what HTTP/2 costs here.

One request at a time a connection; Envoy opens as many as there are calls in flight. The request is a POST whose body
is one gRPC frame; the answer is chunked and ends with the trailer `grpc-status`, a refusal is headers alone
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, with HTTP/1.1's framing).
Holds always: whatever bytes come, at most their own connection ends; and a call whose caller leaves is cancelled.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import socket
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import quote

import httptools
import orjson

from mesh.reasons import CODES, Reason
from mesh.refusal import Refused, to_json, to_status
from mesh.rpc import (
    REQUEST_BYTES_MAX,
    Calls,
    Method,
    Service,
    by_path,
    explained,
    not_the_message,
    slow_consumer,
    too_large,
)

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 32 * 1024  # twice what the gateway lets through
BODY_BYTES_MAX = 8 * REQUEST_BYTES_MAX  # above REQUEST_BYTES_MAX a request is refused in words, above this cut off
CONNECTIONS_MAX = 50_000  # the gateway's own bound
REQUEST_TIMEOUT_S = 20.0  # from a request's first byte to its last; the gateway's
IDLE_TIMEOUT_S = 300.0  # the gateway ends idle connections first (60 s), so that none ends under a request
SWEEP_S = 5.0
WRITE_BUFFER_BYTES = 64 * 1024  # what waits for a slow reader here, and as much in the kernel
LAST_WORDS_TIMEOUT_S = 60.0  # for an answer's end to be read; the gateway cuts off after as long without a byte
BACKLOG = 4096

LIVENESS = "/livez"  # what the gateway's health checks ask
PREFIX_BYTES = 5  # of a gRPC frame: a flag and the length

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-accept-encoding: identity,deflate,gzip\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_END_OK = b"0\r\ngrpc-status: 0\r\n\r\n"
_WINDOW_BITS = {"gzip": 31, "deflate": 15}  # zlib.decompressobj's
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_PRINTABLE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a plain GET is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


#: Answers a plain GET, given the query and the headers. Raises Refused.
Page = Callable[[str, Mapping[str, str]], Awaitable[HttpAnswer]]


class Http1Server:
    """Listens for the gateway, and carries out its calls. pages: plain GETs by their path."""

    def __init__(
        self,
        services: Sequence[Service],
        calls: Calls,
        write_timeout_s: float,
        pages: Mapping[str, Page] = MappingProxyType({}),
    ) -> None:
        self.pages = pages
        self.methods: Mapping[str, Method] = by_path(services)
        self.calls = calls
        self.write_timeout_s = write_timeout_s
        self.connections: set[Connection] = set()
        self.is_draining = False
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> None:
        """Listens. Raises OSError when the port cannot be had."""
        sock = socket.create_server((host, port), backlog=BACKLOG)
        # Inherited by the connections: the kernel would take in megabytes for a reader that does not read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WRITE_BUFFER_BYTES)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), sock=sock, backlog=BACKLOG)
        self._sweeper = asyncio.create_task(self._sweep(), name="http1 sweep")

    def drain(self) -> None:
        """Answers the liveness check with 503 from now on, so that the gateway turns elsewhere."""
        self.is_draining = True

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, gives those in flight `grace_s` to finish, then ends them."""
        if self._listener is None or self._sweeper is None:
            return
        self._listener.close()
        self._sweeper.cancel()
        self.drain()
        for connection in list(self.connections):
            connection.close_when_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while busy := {connection.closed for connection in self.connections if connection.is_busy}:
                    await asyncio.wait(busy)
        for connection in list(self.connections):
            connection.abort()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.end_if_late(now)


class Connection(asyncio.Protocol):
    """One connection of the gateway, and the request that is on it."""

    def __init__(self, server: Http1Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._resumed: asyncio.Future[None] | None = None  # set while the other side does not read
        self.is_receiving = False
        self.since = time.monotonic()  # when it became idle, or a request began
        self._is_last = False  # the connection ends after this answer
        self._has_begun = False  # the answer has, so that only trailers can end it
        self._is_flowing = False  # the stream's next frame may be pushed: none waits for the other side to read
        self._is_expired = False  # the call's deadline has passed
        self._begin()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._has_head = False
        self._body: list[bytes] = []
        self._body_bytes = 0

    # What the server asks of it.

    @property
    def is_busy(self) -> bool:
        """Whether a request is coming in or being answered."""
        return self._task is not None or self.is_receiving

    def close_when_idle(self) -> None:
        """Ends now, or after the answer that is under way."""
        self._is_last = True
        if not self.is_busy:
            self._transport.close()

    def abort(self) -> None:
        """Ends without waiting for anything."""
        self._transport.abort()

    def end_if_late(self, now: float) -> None:
        """Ends it when a request does not come to its end, an answer is not read, or nothing comes for long."""
        if self.is_receiving:
            bound_s = REQUEST_TIMEOUT_S
        else:
            bound_s = LAST_WORDS_TIMEOUT_S if self._transport.is_closing() else IDLE_TIMEOUT_S
        if self._task is None and now - self.since > bound_s:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection begins."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._server.connections.add(self)
        if len(self._server.connections) > CONNECTIONS_MAX:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended: so does the call on it."""
        self._server.connections.discard(self)
        self._is_flowing = False
        if self._task is not None:
            self._task.cancel()
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The other side does not read."""
        self._is_flowing = False
        self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        self._resumed = None

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._task is not None:  # HTTP allows a second request here; the gateway sends none
            self._transport.abort()
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(400, "Bad Request")
            return
        if not self._has_head and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(431, "Request Header Fields Too Large")

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        if self.is_receiving or self._task is not None:
            self._transport.abort()  # a second one in the same bytes
            return
        self.is_receiving = True
        self.since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """Part of the path."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; of one that comes twice, the values are joined (RFC 9110, 5.3). Trailers are dropped (6.5.1).

        The gateway has looked at headers alone: a trailer must not add to x-forwarded-for what it did not see.
        """
        if self._has_head:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        """Part of the body. What is too much is counted and dropped."""
        self._body_bytes += len(body)
        if self._body_bytes <= REQUEST_BYTES_MAX + PREFIX_BYTES:
            self._body.append(body)
        elif self._body_bytes > BODY_BYTES_MAX:
            self._transport.abort()

    def on_message_complete(self) -> None:
        """The request is whole: it is answered."""
        self.is_receiving = False
        if self._transport.is_closing() or self._task is not None:
            return
        self._is_last = self._is_last or not self._parser.should_keep_alive()
        path = self._url.decode("latin-1")
        if self._parser.get_method() == b"GET":
            self._answer_get(*path.partition("?")[::2])
            return
        method = self._server.methods.get(path)
        if method is None or not self._headers.get("content-type", "").startswith("application/grpc"):
            self._end(_headers_only(12, f"unknown method {path}"))
            return
        timeout_s = _timeout_s(self._headers.get("grpc-timeout", ""))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        answer = self._stream(method, deadline) if method.is_streaming else self._unary(method, deadline)
        self._work(self._within(timeout_s, answer))

    def _work(self, answer: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(answer)
        self._task.add_done_callback(self._on_worked)

    def _on_worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("An answer could not be written", exc_info=error, extra={"event": "answer_failed"})
            self._transport.abort()

    # Answers

    def _answer_get(self, path: str, query: str) -> None:
        page = self._server.pages.get(path)
        if page is not None:
            self._work(self._show(page, query))
        elif path == LIVENESS:
            self._end(_plain(503, "draining") if self._server.is_draining else _plain(200, "alive"))
        else:
            self._end(_plain(404, "Not Found"))

    def _fail(self, status: int, words: str) -> None:
        self._is_last = True
        self._end(_plain(status, words))

    def _end(self, data: bytes) -> None:
        """Write the end of an answer, and wait for the next request."""
        self._task = None
        self.is_receiving = self._has_begun = self._is_flowing = self._is_expired = False
        self.since = time.monotonic()
        self._begin()
        if not self._transport.is_closing():
            self._transport.write(data)
            if self._is_last:
                self._transport.close()

    async def _show(self, page: Page, query: str) -> None:
        try:
            answer = await page(query, self._headers)
        except Exception as e:
            status, headers, body = to_json(explained(e, self._url.decode("latin-1")))
            answer = HttpAnswer(status, {"content-type": "application/json", **headers}, orjson.dumps(body))
        head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode()
        length = b"" if answer.status == HTTPStatus.NOT_MODIFIED else b"content-length: %d\r\n" % len(answer.body)
        self._end(b"".join((head, _lines(answer.headers), length, b"\r\n", answer.body)))

    async def _within(self, timeout_s: float | None, answer: Awaitable[bytes]) -> None:
        # By hand: asyncio.timeout asks for the running loop four times, a system call each before Python 3.12.
        expiry = None if timeout_s is None else self._loop.call_later(timeout_s, self._expire)
        try:
            end = await answer
        except Refused as e:
            end = self._refusal(e)
        except asyncio.CancelledError:
            if not self._is_expired:
                raise
            end = self._refusal(Refused(Reason.DEADLINE_EXCEEDED, "The call's deadline has passed."))
        finally:
            if expiry is not None:
                expiry.cancel()
        self._end(end)

    def _expire(self) -> None:
        if self._task is not None:
            self._is_expired = True
            self._task.cancel()

    async def _unary(self, method: Method, deadline: float | None) -> bytes:
        response, answer = await self._server.calls.unary(method, self._message(), self._headers, deadline)
        return b"".join((_HEAD, _CHUNKED, _lines(answer), b"\r\n", _chunk(response), _END_OK))

    async def _stream(self, method: Method, deadline: float | None) -> bytes:
        frames = self._server.calls.stream(method, self._message(), self._headers, deadline, self._push)
        async with contextlib.aclosing(frames):
            async for frame in frames:
                chunk = _chunk(frame)
                self._transport.write(chunk if self._has_begun else b"".join((_HEAD, _CHUNKED, b"\r\n", chunk)))
                self._has_begun = True
                if self._resumed is not None and not await self._resumes():
                    self._is_last = True  # its status waits behind what it has not read
                    raise slow_consumer()
                self._is_flowing = True
        return _END_OK if self._has_begun else b"".join((_HEAD, _CHUNKED, b"\r\n", _END_OK))

    def _push(self, take: Callable[[], Iterable[bytes]]) -> bool:
        """A stream's frames that are not yielded; mesh.call.Call.push says when."""
        if not self._is_flowing:
            return False
        for frame in take():
            self._transport.write(_shared_chunk(frame))
        return True

    def _refusal(self, refused: Refused) -> bytes:
        return _trailers(refused) if self._has_begun else _headers_only(*_words(refused))

    async def _resumes(self) -> bool:
        """Whether the other side reads on before the time for a write is over."""
        resumed = self._resumed
        if resumed is not None:
            await asyncio.wait({resumed}, timeout=self._server.write_timeout_s)
        return resumed is None or resumed.done()

    def _message(self) -> bytes:
        """The bytes of the request's one message. Raises Refused."""
        if self._body_bytes > REQUEST_BYTES_MAX + PREFIX_BYTES:
            raise too_large()
        body = b"".join(self._body)
        if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES]) != len(body) - PREFIX_BYTES:
            raise not_the_message()
        message = body[PREFIX_BYTES:]
        return message if body[0] == 0 else _decompressed(message, self._headers.get("grpc-encoding", ""))


def _timeout_s(text: str) -> float | None:
    match = _TIMEOUT.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def _decompressed(message: bytes, encoding: str) -> bytes:
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


def _chunk(message: bytes) -> bytes:
    size = len(message)
    return b"%x\r\n\x00%b%b\r\n" % (size + PREFIX_BYTES, size.to_bytes(4), message)


#: For what is pushed to thousands: made once. What a few of the biggest take is kept, no more.
_shared_chunk = lru_cache(maxsize=32)(_chunk)


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii") if headers else b""


def _headers_only(code: int, message: str, details: bytes = b"") -> bytes:
    return b"".join((_HEAD, b"content-length: 0\r\n", _status(code, message, details), b"\r\n"))


def _trailers(refused: Refused) -> bytes:
    return b"".join((b"0\r\n", _status(*_words(refused)), b"\r\n"))


def _words(refused: Refused) -> tuple[int, str, bytes]:
    return CODES[refused.reason].value[0], refused.message, to_status(refused).SerializeToString()


def _status(code: int, message: str, details: bytes) -> bytes:
    lines = {"grpc-status": str(code), "grpc-message": quote(message, safe=_PRINTABLE)}
    if details:
        lines["grpc-status-details-bin"] = base64.b64encode(details).decode().rstrip("=")
    return _lines(lines)


def _plain(status: int, words: str) -> bytes:
    head = f"HTTP/1.1 {status} {words}\r\ncontent-type: text/plain\r\ncontent-length: {len(words)}\r\n\r\n"
    return f"{head}{words}".encode("ascii")
