"""One connection of the gateway: reads a request, has it answered, writes the answer, and so on.

One request at a time; the gateway opens as many connections as there are calls in flight.
Holds always: whatever bytes come, at most their own connection ends; and a call whose caller leaves is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson

from mesh import metrics
from mesh.http1_wire import (
    CHUNKED,
    END_OK,
    HEAD,
    PREFIX_BYTES,
    decompressed,
    header_lines,
    headers_only,
    plain_answer,
    status_of,
    to_chunk,
    to_seconds,
    to_shared_chunk,
    trailers,
)
from mesh.plain_get import HttpAnswer, Page
from mesh.reasons import Reason
from mesh.refusal import Refused, to_json
from mesh.rpc import REQUEST_BYTES_MAX, Calls, Method, explained, not_the_message, slow_consumer, too_large
from mesh.rpc_figures import RpcFigures

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 32 * 1024  # twice what the gateway lets through
BODY_BYTES_MAX = 8 * REQUEST_BYTES_MAX  # above REQUEST_BYTES_MAX a request is refused in words, above this cut off
CONNECTIONS_MAX = 50_000  # the gateway's own bound
REQUEST_TIMEOUT_S = 20.0  # from a request's first byte to its last; the gateway's
IDLE_TIMEOUT_S = 300.0  # the gateway ends idle connections first (60 s), so that none ends under a request
WRITE_BUFFER_BYTES = 64 * 1024  # what waits for a slow reader here, and as much in the kernel
LAST_WORDS_TIMEOUT_S = 60.0  # for an answer's end to be read; the gateway cuts off after as long without a byte

LIVENESS = "/livez"  # what the gateway's health checks ask


@dataclass(slots=True)
class Shared:
    """What the connections of a server share. methods, pages: by path."""

    methods: Mapping[str, Method]
    calls: Calls
    pages: Mapping[str, tuple[Page, RpcFigures]]
    write_timeout_s: float
    connections: set[Connection] = field(default_factory=set)
    is_draining: bool = False


class Connection(asyncio.Protocol):
    """One connection of the gateway, and the request that is on it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
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
        self._shared.connections.add(self)
        if len(self._shared.connections) > CONNECTIONS_MAX:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended: so does the call on it."""
        self._shared.connections.discard(self)
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
        method = self._shared.methods.get(path)
        if method is None or not self._headers.get("content-type", "").startswith("application/grpc"):
            self._end(headers_only(12, f"unknown method {path}"))
            return
        timeout_s = to_seconds(self._headers.get("grpc-timeout", ""))
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
        page = self._shared.pages.get(path)
        if page is not None:
            self._work(self._show(*page, query))
        elif path == LIVENESS:
            self._end(plain_answer(503, "draining") if self._shared.is_draining else plain_answer(200, "alive"))
        else:
            self._end(plain_answer(404, "Not Found"))

    def _fail(self, status: int, text: str) -> None:
        self._is_last = True
        self._end(plain_answer(status, text))

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

    async def _show(self, page: Page, figures: RpcFigures, query: str) -> None:
        began = metrics.clock()
        try:
            answer = await page(query, self._headers)
        except Exception as e:
            refused = explained(e, self._url.partition(b"?")[0].decode("latin-1"), self._headers)
            figures.refused(refused.reason)
            status, headers, body = to_json(refused)
            answer = HttpAnswer(status, {"content-type": "application/json", **headers}, orjson.dumps(body))
        head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode()
        length = b"" if answer.status == HTTPStatus.NOT_MODIFIED else b"content-length: %d\r\n" % len(answer.body)
        figures.answered(began)
        self._end(b"".join((head, header_lines(answer.headers), length, b"\r\n", answer.body)))

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
        response, answer = await self._shared.calls.unary(method, self._message(), self._headers, deadline)
        return b"".join((HEAD, CHUNKED, header_lines(answer), b"\r\n", to_chunk(response), END_OK))

    async def _stream(self, method: Method, deadline: float | None) -> bytes:
        frames = self._shared.calls.stream(method, self._message(), self._headers, deadline, self._push)
        async with contextlib.aclosing(frames):
            async for frame in frames:
                chunk = to_chunk(frame)
                self._transport.write(chunk if self._has_begun else b"".join((HEAD, CHUNKED, b"\r\n", chunk)))
                self._has_begun = True
                if self._resumed is not None and not await self._resumes():
                    self._is_last = True  # its status waits behind what it has not read
                    raise slow_consumer(method)
                self._is_flowing = True
        return END_OK if self._has_begun else b"".join((HEAD, CHUNKED, b"\r\n", END_OK))

    def _push(self, take: Callable[[], Iterable[bytes]]) -> bool:
        """A stream's frames that are not yielded; mesh.call.Call.push says when."""
        if not self._is_flowing:
            return False
        for frame in take():
            self._transport.write(to_shared_chunk(frame))
        return True

    def _refusal(self, refused: Refused) -> bytes:
        return trailers(refused) if self._has_begun else headers_only(*status_of(refused))

    async def _resumes(self) -> bool:
        """Whether the other side reads on before the time for a write is over."""
        resumed = self._resumed
        if resumed is not None:
            await asyncio.wait({resumed}, timeout=self._shared.write_timeout_s)
        return resumed is None or resumed.done()

    def _message(self) -> bytes:
        """The bytes of the request's one message. Raises Refused."""
        if self._body_bytes > REQUEST_BYTES_MAX + PREFIX_BYTES:
            raise too_large()
        body = b"".join(self._body)
        if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES]) != len(body) - PREFIX_BYTES:
            raise not_the_message()
        message = body[PREFIX_BYTES:]
        return message if body[0] == 0 else decompressed(message, self._headers.get("grpc-encoding", ""))
