"""What a snapshot shares with the one before, what a delta says, and how frames are written."""

from __future__ import annotations

import json

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from board.read import Row
from scoreboard.v1 import stream_pb2 as pb
from stream_svc import frames
from stream_svc.frames import Format
from stream_svc.snapshot import Me, Rows, Snapshot, apply, change

SCORES = st.integers(-(2**53), 2**53)


def ranked(scores: dict[str, int]) -> Rows:
    order = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Row(rank, user_id, user_id.upper(), score) for rank, (user_id, score) in enumerate(order, start=1))


boards = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), SCORES, max_size=12).map(ranked)


def snapshot(rows: Rows, version: int = 1, period: str = "all-time", *, is_exact: bool = True) -> Snapshot:
    return Snapshot("all", period, version, rows, is_exact)


def from_json(frame: bytes) -> dict[str, object]:
    shown: dict[str, object] = json.loads(frame)
    return shown


@given(boards, boards, st.integers(1, 12))
def test_a_delta_turns_the_older_rows_into_the_newer(older: Rows, newer: Rows, limit: int) -> None:
    rows, left = change(older[:limit], newer[:limit])
    assert apply(older[:limit], rows, left) == newer[:limit]


@given(boards)
def test_nothing_changed_is_an_empty_delta(rows: Rows) -> None:
    assert change(rows, rows) == ((), ())


@given(boards, boards, st.integers(1, 100))
def test_equal_first_rows_are_one_object_over_snapshots(older: Rows, newer: Rows, limit: int) -> None:
    before = snapshot(older)
    shown = before.top(limit)
    after = snapshot(newer, 2).after(before)
    assert (after.top(limit) is shown) == (older[:limit] == newer[:limit])


def test_a_read_that_brings_nothing_new_leaves_the_snapshot() -> None:
    before = snapshot(ranked({"a": 1}))
    assert snapshot(ranked({"a": 1})).after(before) is before
    assert snapshot(ranked({"a": 1}), is_exact=False).after(before) is not before


def test_a_new_period_remembers_the_last_of_the_old_one_and_no_more() -> None:
    monday = snapshot(ranked({"a": 1}), period="monday")
    tuesday = snapshot((), period="tuesday").after(monday)
    wednesday = snapshot((), period="wednesday").after(tuesday)
    assert tuesday.closed is None
    assert wednesday.closed is tuesday
    assert snapshot(ranked({"b": 1}), 2, "wednesday").after(wednesday).closed is tuesday


def protobuf_of(frame: bytes) -> dict[str, object]:
    update = pb.LeaderboardUpdate.FromString(frame)
    shown: dict[str, object] = MessageToDict(update, always_print_fields_with_no_presence=True)
    return shown


@given(boards, boards, st.integers(1, 12), st.none() | st.builds(Me, st.integers(0, 99), SCORES), st.booleans())
def test_json_frames_say_what_the_transcoder_prints_of_the_protobuf_ones(
    older: Rows, newer: Rows, limit: int, me: Me | None, closed: bool
) -> None:
    now = snapshot(newer, 2**33 + 7)
    base, base_version = older[:limit], 2**33 + 6
    for text, proto in zip(
        *(
            (
                frames.whole(now, limit, format_, closed=closed),
                frames.heartbeat(now, format_),
                frames.delta(now, limit, format_, base, base_version),
            )
            for format_ in (Format.JSON, Format.PROTO)
        ),
        strict=True,
    ):
        text, proto = frames.with_me(text, me, Format.JSON), frames.with_me(proto, me, Format.PROTO)
        assert from_json(text) == protobuf_of(proto)


def test_a_frame_is_serialised_once() -> None:
    now = snapshot(ranked({"a": 1, "b": 2}))
    for format_ in Format:
        assert frames.whole(now, 1, format_) is frames.whole(now, 1, format_)
        assert frames.heartbeat(now, format_) is frames.heartbeat(now, format_)
        assert frames.delta(now, 1, format_, (), 0) is frames.delta(now, 1, format_, (), 0)


def test_a_place_of_zero_is_there() -> None:
    frame = frames.with_me(frames.whole(snapshot(()), 10, Format.JSON), Me(0, 0), Format.JSON)
    assert from_json(frame)["me"] == {"rank": 0, "score": 0}
    proto = frames.with_me(frames.whole(snapshot(()), 10, Format.PROTO), Me(0, 0), Format.PROTO)
    assert pb.LeaderboardUpdate.FromString(proto).HasField("me")
