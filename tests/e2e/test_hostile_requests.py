"""Requests that no client of ours would send, each with the status that it must get, byte by byte where needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass

import hpack
import pytest

from mesh.reasons import Reason
from tests.e2e.conftest import Gateway
from tests.e2e.test_gateway import check_body
from tests.waiting import SCALE

ANSWER_S = 15.0


@dataclass(frozen=True)
class Answer:
    """What came back. status: None when the connection was only closed."""

    status: int | None
    head: str
    body: bytes
    is_closed: bool


async def say(gateway: Gateway, data: bytes, wait_s: float = ANSWER_S) -> Answer:
    """Sends these bytes on a connection of their own, and reads until the gateway closes or the answer is whole."""
    host, port = gateway.target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        return await asyncio.wait_for(_answer(reader, has_body=not data.startswith(b"HEAD ")), wait_s * SCALE)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, *, has_body: bool) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(None, "", b"", is_closed=True)
    text = head.decode("latin-1")
    length = re.search(r"(?im)^content-length: (\d+)", text)
    body = await reader.readexactly(int(length[1])) if length and has_body else b""
    status = int(text.split(" ", 2)[1])
    return Answer(status, text, body, is_closed="connection: close" in text.lower())


def get(path: str, *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {path} {version}", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


BOARD = "/api/scores/boards"
POST = "/api/auth/logout"
JSON = "Content-Type: application/json"
TOKEN_BODY = b'{"refresh_token":"x"}'

#: What is sent, and the status that it must get; None: the connection is closed without a word.
PATHS: dict[str, tuple[bytes, int | None]] = {
    "dot segments": (get("/api/scores/../scores/boards"), 200),
    "dot segments, encoded": (get("/api/%2e%2e/api/scores/boards"), 200),
    "out of the root": (get("/../../etc/passwd"), 404),
    "out of the root, encoded": (get("/%2e%2e/%2e%2e/etc/passwd"), 404),
    "encoded slash": (get("/api%2fscores%2fboards"), 400),
    "encoded slash in a name": (get("/api/scores/rank/a%2fb"), 400),
    "encoded backslash": (get("/api%5cscores%5cboards"), 400),
    "backslash": (get("\\api\\scores\\boards"), 400),
    "backslash after a slash": (get("/api\\scores\\boards"), 200),
    "doubled slashes": (get("//api///scores//boards"), 200),
    "a path parameter": (get("/api/scores/boards;jsessionid=1"), 404),
    "a path parameter before dots": (get("/api/scores/..;/boards"), 404),
    "twice encoded": (get("/api/%252e%252e/scores/boards"), 404),
    "NUL": (get("/api/scores/boards%00"), 400),
    "NUL in a name": (get("/api/scores/rank/a%00"), 400),
    "line feed in a name": (get("/api/scores/rank/a%0d%0aX-Evil:%201"), 200),  # a name like any other
    "bad escape": (get("/api/scores/rank/%zz"), 200),  # so is this
    "bad UTF-8 in a name": (get("/api/scores/rank/%ff%fe"), 400),
    "raw bytes": (get("/api/scores/rank/\xff\xfe"), 400),
    "a space": (get("/api/scores boards"), 400),
    "a fragment": (get("/api/scores/boards#x"), 400),
    "whole URL": (get("http://x/api/scores/boards"), 200),
    "another's whole URL": (get("http://evil.test/api/scores/boards"), 200),
    "another scheme": (get("gopher://x/api/scores/boards"), 400),
    "two slashes and a host": (get("//evil.test/"), 404),
    "no slash": (get("api/scores/boards"), 400),
    "empty": (get(""), 400),
    "an asterisk": (get("*"), 400),
    "long": (get("/" + "a" * 20_000), 431),
    "long query": (get("/api/scores/boards?" + "a=1&" * 5_000), 431),
    "many parameters": (get(BOARD + "?" + "&".join(f"a{n}=1" for n in range(500))), 400),
    "upper case": (get("/API/SCORES/BOARDS"), 404),
    "the admin's address": (get("/stats"), 404),
    "the admin's end": (get("/quitquitquit", "Content-Length: 0", method="POST"), 404),
    "a health check of ours": (get("/livez"), 404),
    "the services' own": (get("/scoreboard.v1.AdminService/GetUser"), 404),
    "metrics": (get("/metrics"), 404),
    "a file of the checkout": (get("/nginx.conf.tmpl"), 404),
    "hidden": (get("/.git/config"), 404),
}

MESSAGES: dict[str, tuple[bytes, int | None]] = {
    "length and chunks": (
        get(POST, JSON, "Content-Length: 21", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
        400,
    ),
    "two lengths": (get(POST, JSON, "Content-Length: 21", "Content-Length: 22", method="POST") + TOKEN_BODY, 400),
    "two lengths in one": (get(POST, JSON, "Content-Length: 21, 21", method="POST") + TOKEN_BODY, 400),
    "negative length": (get(POST, JSON, "Content-Length: -1", method="POST"), 400),
    "length with a sign": (get(POST, JSON, "Content-Length: +21", method="POST") + TOKEN_BODY, 400),
    "huge length": (get(POST, JSON, "Content-Length: 99999999999999999999", method="POST"), 400),
    "unknown coding": (get(POST, JSON, "Transfer-Encoding: gzip", method="POST"), 501),
    "chunked, disguised": (get(POST, JSON, "Transfer-Encoding: xchunked", method="POST"), 501),
    "chunked twice": (get(POST, JSON, "Transfer-Encoding: chunked, chunked", method="POST") + b"0\r\n\r\n", 501),
    "bad chunk size": (get(POST, JSON, "Transfer-Encoding: chunked", method="POST") + b"zz\r\n", 400),
    "huge chunk size": (get(POST, JSON, "Transfer-Encoding: chunked", method="POST") + b"fffffffffffffffff\r\n", 400),
    "space before the colon": (get(BOARD, "Transfer-Encoding : chunked"), 400),
    "space in a name": (get(BOARD, "X Y: 1"), 400),
    "folded header": (get(BOARD, "X-A: 1\r\n 2"), 200),
    "no name": (get(BOARD, ": 1"), 400),
    "no colon": (get(BOARD, "nonsense"), 400),
    "NUL in a header": (get(BOARD, "X-A: a\x00b"), 400),
    "carriage return in a header": (get(BOARD, "X-A: a\rX-B: b"), 200),  # a space by then (RFC 9110, 5.5)
    "no host": (b"GET /api/scores/boards HTTP/1.1\r\n\r\n", 400),
    "two hosts": (get(BOARD, "Host: y"), 200),  # nothing here goes by the host
    "bad host": (get(BOARD).replace(b"Host: x", b"Host: a b"), 400),
    "many headers": (get(BOARD, *(f"X-{n}: 1" for n in range(120))), 431),
    "large headers": (get(BOARD, "X-A: " + "a" * 20_000), 431),
    "HTTP/1.0": (get(BOARD, version="HTTP/1.0"), 426),
    "HTTP/0.9": (b"GET /api/scores/boards\r\n\r\n", 426),
    "HTTP/3.0 by words": (get(BOARD, version="HTTP/3.0"), 426),
    "no version": (get(BOARD, version=""), 426),
    "lower case method": (get(BOARD, method="get"), 400),
    "made-up method": (get(BOARD, method="BREW"), 400),
    "CONNECT": (get("evil.test:443", method="CONNECT"), 404),
    "TRACE": (get(BOARD, method="TRACE"), 404),
    "OPTIONS": (get(BOARD, method="OPTIONS"), 404),
    "PUT": (get(BOARD, "Content-Length: 0", method="PUT"), 404),
    "HEAD of a call": (get(BOARD, method="HEAD"), 404),
    "a TLS greeting": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, 400),
    "NULs": (b"\x00" * 100, 400),
    "an upgrade to nothing": (get(BOARD, "Connection: Upgrade", "Upgrade: nonsense"), 400),
    "a socket elsewhere": (get("/", "Connection: Upgrade", "Upgrade: websocket"), 400),
    "a range of the page": (get("/", "Range: bytes=0-0,1-1,2-2"), 200),
    "a precondition": (get("/", 'If-Match: "x"'), 400),
    "a body where none belongs": (get("/", "Content-Length: 5") + b"hello", 200),
    "a large body where none belongs": (get("/", "Content-Length: 70000") + b"x" * 70_000, 413),
    "gzip of a body": (
        get(POST, JSON, "Content-Encoding: gzip", "Content-Length: 4", method="POST") + b"\x1f\x8b\x08\x00",
        400,
    ),
}


def check(answer: Answer, status: int | None) -> None:
    """Fails unless it has that status and, when it refuses, the one error body."""
    assert answer.status == status, answer
    assert not re.search(r"(?im)^server: .*\d", answer.head), "no version is told"
    if answer.body and status is not None and status >= 400:
        body = json.loads(answer.body)
        assert sorted(body) == ["error", "message", "reason", "success"]
        assert body["reason"] in set(Reason)


@pytest.mark.parametrize("case", PATHS)
async def test_paths(guarded: Gateway, case: str) -> None:
    data, status = PATHS[case]
    check(await say(guarded, data), status)


@pytest.mark.parametrize("case", MESSAGES)
async def test_messages(guarded: Gateway, case: str) -> None:
    data, status = MESSAGES[case]
    check(await say(guarded, data), status)


async def test_a_second_request_hidden_in_a_body_is_a_body(guarded: Gateway) -> None:
    hidden = get("/api/nope", "X-Hidden: 1")
    head = get(POST, JSON, f"Content-Length: {len(hidden)}", method="POST")
    answer = await say(guarded, head + hidden + get(BOARD, "Connection: close"))
    assert (answer.status, answer.head.count("HTTP/1.1 ")) == (400, 1), "it is no JSON, and nothing else"


async def test_the_board_goes_on_after_all_of_them(guarded: Gateway) -> None:
    everything = [*PATHS.values(), *MESSAGES.values()]
    await asyncio.gather(*(say(guarded, data) for data, _ in everything), return_exceptions=True)
    assert (await guarded.http.get(BOARD)).status_code == 200


async def test_who_takes_long_is_told_and_cut_off(guarded: Gateway) -> None:
    slow_head = b"GET /api/scores/boards HTTP/1.1\r\nHost: x\r\nX-Slow: "
    slow_body = get(POST, JSON, "Content-Length: 21", method="POST") + TOKEN_BODY[:5]
    for answer in await asyncio.gather(say(guarded, slow_head), say(guarded, slow_body)):
        check(answer, 504)
        assert answer.is_closed


async def test_error_bodies_come_with_words(guarded: Gateway) -> None:
    check_body(await guarded.http.get("/nope"), 404, "NOT_FOUND")
    check_body(await guarded.http.get("/api/nope"), 404, "NOT_FOUND")


async def test_the_page_and_the_reference_come_through_the_gateway(guarded: Gateway) -> None:
    page, reference, document = await asyncio.gather(*map(guarded.http.get, ("/", "/docs", "/openapi.json")))
    assert (page.status_code, reference.status_code, document.status_code) == (200, 200, 200)
    assert document.json()["openapi"] == "3.1.0"
    for answer in (page, reference, document):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert "content-security-policy" in answer.headers
        assert "strict-transport-security" not in answer.headers
        assert "server" not in answer.headers
    forged = await guarded.http.get("/", headers={"x-forwarded-proto": "https"})
    assert "strict-transport-security" not in forged.headers, "whoever came by plain HTTP is not bound by a lie"


async def test_answers_of_calls_are_never_sniffed_and_tokens_never_stored(guarded: Gateway) -> None:
    board = await guarded.http.get(BOARD)
    assert board.headers["x-content-type-options"] == "nosniff"
    out = await guarded.http.post(POST, json={"refresh_token": "x"})
    assert (out.status_code, out.headers["cache-control"]) == (200, "no-store")


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Returns a frame of HTTP/2 (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4
GET_BOARDS = hpack.Encoder().encode(
    [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", BOARD)], huffman=False
)


def _opened(stream: int, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, GET_BOARDS)


FLOODS: dict[str, bytes] = {
    "streams opened and reset (CVE-2023-44487)": b"".join(
        _opened(n) + frame(RST_STREAM, 0, n, bytes(4)) for n in range(1, 8_001, 2)
    ),
    "headers without an end (CVE-2024-27919)": _opened(1, 0) + 5_000 * frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b"),
    "pings": 20_000 * frame(PING, 0, 0, bytes(8)),
    "settings": 20_000 * frame(SETTINGS),
    "empty data": _opened(1, END_HEADERS) + 5_000 * frame(DATA, 0, 1),
    "headers as large as a frame may be": frame(
        HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x7f\xff\xff\xff\xff\xff\x0f"
    ),
    "a stream of the server's": _opened(2),
    "a frame larger than agreed": frame(DATA, 0, 1, bytes(70_000)),
    "nonsense": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_over_http2_ends_its_connection_and_harms_nobody(guarded: Gateway, name: str) -> None:
    host, port = guarded.target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def flood() -> None:
        with contextlib.suppress(ConnectionError):  # it is hung up on before it has said it all
            writer.write(PREFACE + frame(SETTINGS) + FLOODS[name])
            await writer.drain()

    async def is_cut() -> bool:
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        return True

    try:
        _, cut, beside = await asyncio.wait_for(
            asyncio.gather(flood(), is_cut(), guarded.http.get(BOARD)), ANSWER_S * SCALE
        )
        assert cut
        assert beside.status_code == 200
    finally:
        writer.close()
