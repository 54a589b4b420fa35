"""What a watch shows over streams that break, repeat and lag, and when it connects again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.client import Me, Row, ScoreboardError
from scoreboard.client.watching import RECONNECT_MAX_S, RECONNECT_WITHIN_S, Watching
from scoreboard.v1 import common_pb2, stream_pb2
from tests.clients import ERRORS, an_error

MENDED = {"BROKER_AWAY", "LEADERBOARD_UNAVAILABLE", "SERVICE_AWAY", "DEADLINE_EXCEEDED", "QUEUE_FULL"} | {
    *(f"-{code}" for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED")),
    "SLOW_CONSUMER",
}


def a_frame(version: float = 1, period: str = "p", **fields: Any) -> stream_pb2.LeaderboardUpdate:
    row = common_pb2.Row(rank=1, user_id="u_ada", username="Ada", score=50)
    return stream_pb2.LeaderboardUpdate(leaderboard=[row], version=version, board="all", period=period, **fields)


@pytest.mark.parametrize("name", ERRORS)
def test_a_watch_dies_of_what_a_reconnect_cannot_mend(name: str) -> None:
    watching = Watching(chance=lambda: 0.5)
    if name in MENDED:
        assert watching.broke(an_error(name)) == RECONNECT_WITHIN_S / 2
    else:
        with pytest.raises(ScoreboardError):
            watching.broke(an_error(name))


def test_a_watch_of_one_s_own_place_gets_another_token_once() -> None:
    watching = Watching(me=True)
    watching.broke(an_error("TOKEN_EXPIRED"), "access-0")
    assert watching.refused == "access-0"
    watching.broke(an_error("TOKEN_EXPIRED"), "access-1")
    with pytest.raises(ScoreboardError, match="TOKEN_EXPIRED"):
        watching.broke(an_error("TOKEN_EXPIRED"), "access-1")
    with pytest.raises(ScoreboardError, match="TOKEN_EXPIRED"):
        watching.broke(an_error("TOKEN_EXPIRED"))


streams = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("pqr"), st.booleans()), max_size=6), max_size=6
)


@given(streams)
def test_what_is_shown_never_goes_back(frames_of_streams: list[list[tuple[int, str, bool]]]) -> None:
    watching, newest, left = Watching(), 0, set[str]()
    period = ""
    for frames in frames_of_streams:
        for version, label, heartbeat in frames:
            try:
                snapshot = watching.take(a_frame(version, label, heartbeat=heartbeat or None))
            except ScoreboardError:  # the boards began anew
                assert heartbeat
                newest = 0
                break
            if snapshot is None:
                continue
            assert snapshot.period not in left
            if snapshot.period != period:
                left.add(period)
                period, newest = snapshot.period, 0
            assert snapshot.version >= newest or snapshot.version == 0
            newest = max(newest, snapshot.version)
            assert watching.request.version == newest
        watching.broke(None)


def test_a_newer_board_is_always_shown_and_one_from_postgres_too() -> None:
    watching = Watching()
    shown = [watching.take(a_frame(version)) for version in (5, 6, 6, 0, 4, 7)]
    assert [board and board.version for board in shown] == [5, 6, 6, 0, None, 7]


@pytest.mark.parametrize(("version", "period"), [(3, "p"), (5, "q")], ids=["older boards", "another period"])
def test_a_board_that_began_anew_is_asked_for_again_and_shown(version: int, period: str) -> None:
    told: list[ScoreboardError | None] = []
    watching = Watching(on_state=told.append, chance=lambda: 0.5)
    watching.take(a_frame(5))
    assert watching.take(a_frame(0, heartbeat=True)) is None
    assert watching.take(a_frame(5, heartbeat=True)) is None
    with pytest.raises(ScoreboardError) as anew:
        watching.take(a_frame(version, period, heartbeat=True))
    assert watching.broke(anew.value) == RECONNECT_WITHIN_S / 2
    assert watching.request.version == 0
    board = watching.take(a_frame(version, period))
    assert board is not None
    assert (board.version, board.period) == (version, period)
    assert told == [anew.value, None]


def test_a_frame_brings_rows_and_the_own_place() -> None:
    board = Watching(me=True).take(a_frame(7, closed=True, me=stream_pb2.Me(rank=3, score=20)))
    assert board is not None
    assert (board.leaderboard, board.board, board.period) == ((Row(1, "u_ada", "Ada", 50),), "all", "p")
    assert (board.me, board.closed, board.version, board.players) == (Me(3, 20), True, 7, None)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 20))
def test_waits_grow_to_a_bound_and_begin_anew_with_a_frame(chance: float, breaks: int) -> None:
    watching = Watching(chance=lambda: chance)
    waits = [watching.broke(an_error("-UNAVAILABLE")) for _ in range(breaks)]
    assert waits == sorted(waits)
    assert waits[-1] < RECONNECT_MAX_S
    watching.take(a_frame(heartbeat=True))
    assert watching.broke(None) == chance * RECONNECT_WITHIN_S


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 60))
def test_what_the_server_asks_for_is_waited_up_to_the_bound(chance: float, asked_s: float) -> None:
    error = an_error("SERVICE_AWAY")
    error.retry_after_s = asked_s
    wait_s = Watching(chance=lambda: chance).broke(error)
    assert min(asked_s, RECONNECT_MAX_S) <= wait_s <= RECONNECT_MAX_S + RECONNECT_WITHIN_S


def test_the_state_is_told_when_it_changes() -> None:
    told: list[ScoreboardError | None] = []
    watching = Watching(on_state=told.append)
    watching.take(a_frame())
    lost = an_error("-UNAVAILABLE")
    watching.broke(lost)
    watching.broke(an_error("SERVICE_AWAY"))
    watching.take(a_frame(heartbeat=True))
    watching.take(a_frame(2))
    watching.broke(None)
    assert told[:2] == [lost, None]
    assert told[2] is not None
    assert (told[2].reason, len(told)) == ("SERVICE_AWAY", 3)
