"""The slot of a watcher: newer replaces waiting, and each frame follows from what was sent before."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from board.read import Row
from mesh.identity import Identity
from scoreboard.v1 import stream_pb2 as pb
from stream_svc.endings import RESTART, SLOW_CONSUMER
from stream_svc.frames import Format
from stream_svc.snapshot import Me, Rows, Snapshot, apply
from stream_svc.watcher import Watcher


class Wakes:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def rows(*scores: int) -> Rows:
    return tuple(Row(rank, f"p{rank}", f"P{rank}", score) for rank, score in enumerate(scores, start=1))


def series(*boards: Rows, period: str = "now", is_exact: bool = True) -> list[Snapshot]:
    shown: list[Snapshot] = []
    for version, board in enumerate(boards, start=1):
        shown.append(Snapshot("all", period, version, board, is_exact).after(shown[-1] if shown else None))
    return shown


def watcher(wake: Wakes | None = None, *, limit: int = 10, deltas: bool = False, known_version: float = 0) -> Watcher:
    return Watcher("all", limit, Format.PROTO, wake or Wakes(), deltas=deltas, known_version=known_version)


def taken(slot: Watcher, now: float = 0.0) -> list[pb.LeaderboardUpdate]:
    return [pb.LeaderboardUpdate.FromString(frame) for frame in slot.take(now)]


def test_newer_replaces_waiting() -> None:
    slot = watcher()
    for snapshot in series(rows(1), rows(2), rows(3)):
        slot.offer(snapshot)
    (frame,) = taken(slot)
    assert (frame.version, [row.score for row in frame.leaderboard]) == (3, [3])
    assert taken(slot) == []


def test_rows_that_are_not_shown_wake_nobody() -> None:
    wake = Wakes()
    slot = watcher(wake, limit=1)
    first = Snapshot("all", "now", 1, rows(9, 1), is_exact=True)
    slot.offer(first)
    assert (wake.count, len(taken(slot))) == (1, 1)
    slot.offer(Snapshot("all", "now", 2, rows(9, 2), is_exact=True).after(first))
    assert (wake.count, slot.has_news) == (1, False)


def test_a_heartbeat_comes_after_silence_alone() -> None:
    slot = watcher()
    slot.beat(100.0, 10.0)
    assert not slot.has_news  # nothing was ever shown
    (first,) = series(rows(1))
    slot.offer(first)
    taken(slot, 100.0)
    slot.beat(109.9, 10.0)
    assert not slot.has_news
    slot.beat(110.0, 10.0)
    (frame,) = taken(slot, 110.0)
    assert (frame.heartbeat, frame.version, list(frame.leaderboard)) == (True, 1, [])
    slot.beat(111.0, 10.0)
    assert not slot.has_news


def test_news_take_the_place_of_a_heartbeat() -> None:
    slot = watcher()
    first, second = series(rows(1), rows(2))
    slot.offer(first)
    taken(slot, 0.0)
    slot.beat(10.0, 10.0)
    slot.offer(second)
    (frame,) = taken(slot, 10.0)
    assert not frame.HasField("heartbeat")
    assert not slot.has_news


def test_a_known_version_is_answered_by_a_heartbeat_unless_it_names_other_rows() -> None:
    (exact,), (repeated,) = series(rows(1)), series(rows(1), is_exact=False)
    for snapshot, known_version, is_beat in [(exact, 1, True), (exact, 2, False), (repeated, 1, False)]:
        slot = watcher(known_version=known_version)
        slot.offer(snapshot)
        (frame,) = taken(slot)
        assert frame.HasField("heartbeat") == is_beat


def test_what_postgres_shows_is_sent_whole() -> None:
    slot = watcher(deltas=True)
    (first,) = series(rows(1))
    slot.offer(first)
    taken(slot)
    repeated = Snapshot("all", "now", 1, rows(2), is_exact=False).after(first)
    back = Snapshot("all", "now", 7, rows(3), is_exact=True).after(repeated)
    for snapshot in (repeated, back):
        slot.offer(snapshot)
        (frame,) = taken(slot)
        assert not frame.HasField("delta")
        assert len(frame.leaderboard) == 1


def test_the_closing_frame_shows_the_last_of_its_period_even_to_a_late_reader() -> None:
    slot = watcher()
    early, late = series(rows(1), rows(2), period="monday")
    slot.offer(early)
    taken(slot)
    slot.offer(late)
    slot.offer(Snapshot("all", "tuesday", 9, (), is_exact=True).after(late))
    closing, opening = taken(slot)
    assert (closing.period, closing.closed, closing.leaderboard[0].score) == ("monday", True, 2)
    assert (opening.period, opening.version, opening.HasField("closed")) == ("tuesday", 9, False)


def test_the_own_place_wakes_when_it_changed_and_rides_in_every_frame() -> None:
    wake = Wakes()
    slot = watcher(wake)
    slot.offer_me(Me(5, 1))
    first, second = series(rows(9), rows(8))
    slot.offer(first)
    assert taken(slot)[0].me.rank == 5
    count = wake.count
    slot.offer_me(Me(5, 1))
    assert wake.count == count
    slot.offer_me(Me(4, 2))
    (frame,) = taken(slot)
    assert (frame.me.rank, [row.score for row in frame.leaderboard]) == (4, [9])
    slot.offer(second)
    assert taken(slot)[0].me.rank == 4
    slot.offer_me(None)
    assert not slot.has_news


def test_the_own_place_is_the_one_that_the_rows_show() -> None:
    wake = Wakes()
    slot = watcher(wake, limit=1)
    first, second = series(rows(9, 5), rows(9, 7))
    own = first.rows[1].user_id
    slot.identity = Identity(own, "s", 1, frozenset(), "player", 0)
    slot.offer_me(Me(0, 0))  # read before the rows
    slot.offer(first)
    assert taken(slot)[0].me == pb.Me(rank=2, score=5)
    slot.offer_me(Me(2, 5))
    assert not slot.has_news
    slot.offer(second)  # rows below the limit: none changed that is shown
    (frame,) = taken(slot)
    assert (frame.me.score, [row.score for row in frame.leaderboard]) == (7, [9])


def test_who_drops_out_of_the_rows_keeps_the_place_until_it_is_read() -> None:
    slot = watcher()
    first, second = series(rows(9, 5), rows(9))
    slot.identity = Identity(first.rows[1].user_id, "s", 1, frozenset(), "player", 0)
    assert (slot.wants_place(None), slot.wants_place(first), slot.wants_place(second)) == (True, False, True)
    slot.offer(first)
    taken(slot)
    slot.offer(second)
    assert taken(slot)[0].me == pb.Me(rank=2, score=5)
    slot.offer_me(Me(101, 5))
    assert taken(slot)[0].me == pb.Me(rank=101, score=5)


def test_the_first_ending_counts() -> None:
    wake = Wakes()
    slot = watcher(wake)
    slot.end(RESTART)
    slot.end(SLOW_CONSUMER)
    assert (slot.ending, wake.count) == (RESTART, 1)


scores = st.lists(st.integers(0, 3), max_size=6)


@given(st.lists(st.tuples(scores, st.booleans(), st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_a_client_of_deltas_shows_the_board_whatever_it_missed(
    steps: Sequence[tuple[list[int], bool, bool]], limit: int
) -> None:
    """steps: the scores, whether they came from Redis, whether the client reads then."""
    slot = watcher(limit=limit, deltas=True)
    snapshot: Snapshot | None = None
    shown: Rows = ()
    version = 0.0
    for number, (board, is_exact, is_read) in enumerate(steps, start=1):
        exact_version = number if is_exact else (snapshot.version if snapshot else 0)
        snapshot = Snapshot("all", "now", exact_version, rows(*board), is_exact).after(snapshot)
        slot.offer(snapshot)
        if not is_read:
            continue
        for frame in taken(slot):
            got = tuple(Row(row.rank, row.user_id, row.username, int(row.score)) for row in frame.leaderboard)
            if frame.delta:
                assert frame.base_version == version
                shown = apply(shown, got, frame.left)
            elif not frame.heartbeat:
                shown = got
            assert frame.version >= version
            version = frame.version
        assert shown == rows(*board)[:limit]
