"""What a WebSocket client may say: fragments, UTF-8, sizes; and the handshake, the hints and the endings."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.address import UNKNOWN
from mesh.reasons import CODES, Reason
from mesh.refusal import Refused
from stream_svc import endings
from stream_svc.addresses import Addresses
from stream_svc.client_frame import MESSAGE_BYTES_MAX, Authorize, Watch, parse
from stream_svc.endings import NOT_UTF8, PROTOCOL_ERROR, TOO_LARGE, Ending
from stream_svc.feed import parse_hint
from stream_svc.handshake import PATH, error_body, refusal_of
from stream_svc.messages import Assembler, Broken, Kind
from stream_svc.wish import Wish
from tests.services import TREE

UPGRADE = {"upgrade": "websocket", "sec-websocket-version": "13"}


@given(st.text(max_size=300), st.lists(st.integers(0, 1200), max_size=6))
def test_a_text_is_the_same_however_it_was_cut(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(places)]
    assembler = Assembler()
    for number, part in enumerate(parts):
        whole = assembler.add(Kind.CONTINUATION if number else Kind.TEXT, number == len(parts) - 1, part)
    assert whole == (Kind.TEXT, data)


@pytest.mark.parametrize(
    ("frames", "ending"),
    [
        ([(Kind.CONTINUATION, True, b"")], PROTOCOL_ERROR),
        ([(Kind.TEXT, False, b""), (Kind.TEXT, True, b"")], PROTOCOL_ERROR),
        ([(Kind.TEXT, False, b""), (Kind.BINARY, True, b"")], PROTOCOL_ERROR),
        ([(Kind.TEXT, True, b"\xc3")], NOT_UTF8),
        ([(Kind.TEXT, True, b"x" * (MESSAGE_BYTES_MAX + 1))], TOO_LARGE),
        ([(Kind.TEXT, False, b"x" * MESSAGE_BYTES_MAX), (Kind.CONTINUATION, True, b"x")], TOO_LARGE),
        ([(Kind.TEXT, False, b"")] + [(Kind.CONTINUATION, False, b"")] * MESSAGE_BYTES_MAX, TOO_LARGE),
    ],
)
def test_frames_that_make_no_message_end_the_connection(frames: list[tuple[Kind, bool, bytes]], ending: Ending) -> None:
    assembler = Assembler()
    for frame in frames[:-1]:
        assert assembler.add(*frame) is None
    with pytest.raises(Broken) as broken:
        assembler.add(*frames[-1])
    assert broken.value.ending is ending


def test_a_binary_message_need_not_be_utf8_to_be_answered() -> None:
    assert Assembler().add(Kind.BINARY, True, b"\xff") == (Kind.BINARY, b"\xff")


def test_a_watch_fills_in_the_defaults() -> None:
    message = json.dumps({"watch": [{}, {"board": "daily", "limit": 3}, {"board": "weekly", "limit": None}]})
    assert parse(message.encode()) == Watch((Wish("all", 10), Wish("daily", 3), Wish("weekly", 10)))
    assert parse(b'{"watch": []}') == Watch(())
    assert parse(b'{"authorization": "Bearer x"}') == Authorize("Bearer x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["watch", "board", "limit", "authorization", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_message_is_a_request_or_a_refusal(message: bytes) -> None:
    try:
        request = parse(message)
    except Refused as e:
        body = json.loads(error_body(e))
        assert body["success"] is False
        assert body["reason"] == "INVALID_ARGUMENT"
    else:
        assert isinstance(request, Watch | Authorize)


def test_only_the_one_path_becomes_a_websocket() -> None:
    assert refusal_of(PATH, UPGRADE) is None
    assert refusal_of(f"{PATH}?x=1", UPGRADE) is None
    assert refusal_of(PATH, UPGRADE | {"upgrade": "h2c, WebSocket"}) is None
    for path, headers, status in [
        ("/", UPGRADE, 404),
        (f"{PATH}/more", UPGRADE, 404),
        (PATH, {}, 426),
        (PATH, UPGRADE | {"sec-websocket-version": "8"}, 426),
        (PATH, UPGRADE | {"upgrade": "h2c"}, 426),
    ]:
        refusal = refusal_of(path, headers)
        assert refusal is not None
        assert refusal[0] == status


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"1:0 2 3", ("1:0", 2 * 2**32 + 3, [])),
        (b"", None),
        (b"1:0 2", None),
        (b"1:0 2 -3", None),
        (b"1:0 two 3", None),
        (b"1:0 2 3 00-ab-cd-01 00-ef-12-01", ("1:0", 2 * 2**32 + 3, ["00-ab-cd-01", "00-ef-12-01"])),
        (b"\xff 2 3", ("\ufffd", 2 * 2**32 + 3, [])),
    ],
)
def test_a_hint_is_read_or_ignored(data: bytes, hint: tuple[str, int, list[str]] | None) -> None:
    assert parse_hint(data) == hint


def test_every_ending_has_a_name_a_number_and_a_reason_of_its_own() -> None:
    assert len({ending.name for ending in endings.ALL}) == len(endings.ALL)
    assert len({ending.close_code for ending in endings.ALL}) == len(endings.ALL)
    for ending in endings.ALL:
        assert ending.reason in CODES
        assert len(ending.text.encode()) <= 123  # what a close frame carries
        assert ending.close_code in {1002, 1007, 1009, 1012, 1013} or 4000 <= ending.close_code < 5000


def test_the_page_on_streams_lists_every_ending() -> None:
    page = (TREE / "docs/streams.md").read_text()
    for ending in endings.ALL:
        answer = "yes" if ending.reconnect else "no"
        assert f"| {ending.name} | {ending.close_code} | {ending.reason} | {answer} |" in page


ORIGINS = {
    "none": ({}, True),
    "its own": ({"origin": "http://board.test:8080"}, True),
    "its own, by TLS before the gateway": ({"origin": "https://board.test:8080"}, True),
    "its own in capitals": ({"origin": "HTTP://BOARD.test:8080"}, True),
    "listed": ({"origin": "https://game.test"}, True),
    "another": ({"origin": "https://evil.test"}, False),
    "another port": ({"origin": "http://board.test:9090"}, False),
    "one that begins so": ({"origin": "http://board.test:8080.evil.test"}, False),
    "one below a listed one": ({"origin": "https://evil.game.test"}, False),
    "null": ({"origin": "null"}, False),
    "empty": ({"origin": ""}, False),
}


@pytest.mark.parametrize("name", ORIGINS)
def test_only_pages_of_the_list_may_connect(name: str) -> None:
    headers, is_welcome = ORIGINS[name]
    refusal = refusal_of(PATH, UPGRADE | {"host": "board.test:8080"} | headers, {"https://game.test"})
    assert (refusal is None) is is_welcome
    assert refusal is None or refusal[0] == 403


def test_an_address_has_so_many_streams_and_no_more() -> None:
    addresses = Addresses(2)
    addresses.take("203.0.113.1")
    with addresses.counting("203.0.113.1"):
        with pytest.raises(Refused, match="Your address has 2 of 2 streams open") as refused:
            addresses.check("203.0.113.1")
        assert refused.value.reason is Reason.RATE_LIMITED
        addresses.check("203.0.113.2")
    addresses.check("203.0.113.1")
    for _ in range(3):
        addresses.take(UNKNOWN)
    addresses.check(UNKNOWN)
    addresses.give_back("203.0.113.1")
    assert "203.0.113.1" not in addresses._open
    addresses.check("203.0.113.1", 2)
    with pytest.raises(Refused, match="has 0 of 2"):
        addresses.check("203.0.113.1", 3)
