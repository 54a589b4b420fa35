"""How the bench's watchers cut what is pushed to them, and what they do not let pass."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import pushes
from bench.pushes import Board, Cut
from bench.sockets import Crowd
from mesh.http1_wire import to_chunk
from scoreboard.v1 import stream_pb2

ROWS = [(rank, f"u_{rank}", 100.0 - rank) for rank in range(1, 11)]
SHOWN = tuple((user_id, score) for _, user_id, score in ROWS)

sizes = st.integers(0, 300) | st.integers(65_530, 65_540)  # around where a frame's length takes another form
messages = st.lists(st.builds(lambda byte, size: bytes((byte,)) * size, st.integers(0, 255), sizes), max_size=5)


def text(message: bytes) -> bytes:
    size = len(message)
    if size < 126:
        return bytes((0x81, size)) + message
    long = size > 0xFFFF
    return bytes((0x81, 127 if long else 126)) + size.to_bytes(8 if long else 2) + message


def as_json(version: float, rows: Sequence[tuple[int, str, float]]) -> bytes:
    shown = [{"rank": rank, "userId": user_id, "score": score} for rank, user_id, score in rows]
    return json.dumps({"leaderboard": shown, "version": version}).encode()


@pytest.mark.parametrize(("cut", "written"), [(pushes.cut_websocket, text), (pushes.cut_grpc, to_chunk)])
@given(messages, st.integers(0, 400_000))
def test_what_is_cut_short_is_left_for_later(cut, written, sent: list[bytes], at: int) -> None:  # type: ignore[no-untyped-def]
    data = b"".join(map(written, sent))
    first = cut(data[:at])
    rest = cut(data[first.taken :])
    assert first.messages + rest.messages == sent
    assert first.taken + rest.taken == len(data)


def test_a_ping_is_answered_by_a_masked_pong() -> None:
    assert pushes.cut_websocket(b"\x89\x02hi" + text(b"board")) == Cut(
        [b"board"], [b"\x8a\x82\x00\x00\x00\x00hi"], 4 + len(text(b"board"))
    )


@pytest.mark.parametrize("frame", [b"\x88\x02\x03\xf4", b"\x01\x00", b"\xc1\x00", b"\x82\x00"])
def test_a_close_and_what_ours_never_sends_is_trouble(frame: bytes) -> None:
    with pytest.raises(ValueError, match="a frame that begins with"):
        pushes.cut_websocket(frame)


@pytest.mark.parametrize(
    "data",
    [
        b"0\r\ngrpc-status: 14\r\n\r\n",
        b"6\r\n\x00\x00\x00\x00\x02a\r\n",
        b"6\r\n\x01\x00\x00\x00\x01a\r\n",
        b"2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["trailers", "another length", "compressed", "no prefix", "no chunk"],
)
def test_the_end_of_a_stream_and_what_is_no_frame_is_trouble(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no frame of a stream|invalid literal"):
        pushes.cut_grpc(data)


def test_both_kinds_read_the_same_board() -> None:
    proto = stream_pb2.LeaderboardUpdate(version=7)
    for rank, user_id, score in ROWS:
        proto.leaderboard.add(rank=rank, user_id=user_id, score=score)
    assert pushes.read_json(as_json(7, ROWS)) == pushes.read_proto(proto.SerializeToString()) == Board(7, SHOWN)


@pytest.mark.parametrize(
    "rows",
    [ROWS[:9], ROWS[1:], [*ROWS[:9], (10, "u_10", 100.0)]],
    ids=["nine", "without the first", "a last with more than the ninth"],
)
def test_a_board_that_is_no_top_10_is_trouble(rows: list[tuple[int, str, float]]) -> None:
    with pytest.raises(ValueError, match=r"ranks|order"):
        pushes.read_json(as_json(1, rows))


def test_an_error_frame_is_trouble() -> None:
    with pytest.raises(ValueError, match="no board"):
        pushes.read_json(b'{"success":false,"error":"INTERNAL"}')


def test_a_crowd_counts_messages_and_lets_no_version_fall() -> None:
    crowd = Crowd(pushes.WEBSOCKET)
    older, newer = as_json(1, ROWS), as_json(2, ROWS)
    assert crowd.take([older, newer], 0) == 2
    assert crowd.take([newer], 0) == 2
    with pytest.raises(ValueError, match="version 1 after 2"):
        crowd.take([older], 2)
    assert (crowd.messages, list(crowd.boards.values())) == (4, [Board(1, SHOWN), Board(2, SHOWN)])


def test_a_crowd_tells_each_board_once_and_no_heartbeat() -> None:
    crowd = Crowd(pushes.WEBSOCKET)
    boards = [as_json(version, ROWS) for version in (1, 2)]
    crowd.take([boards[0], as_json(1, [])], 0)
    assert [told for _, told in crowd.new_boards()] == [boards[0].decode()]
    crowd.take([boards[0], boards[1]], 0)
    assert [told for _, told in crowd.new_boards()] == [boards[1].decode()]
