"""board/fold.py: ledger rows into entries, whatever their order."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from board.catalogue import Board
from board.entry import BoardKey, EntryChange, Operator
from board.fold import LedgerChange, boards_touched, fold
from board.periods import BEGINNING, PeriodKind

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
ALL = Board(name="all", board_id=1, revision=1)
DAILY = Board(name="daily", board_id=2, revision=1, period=PeriodKind.DAY)
BEST = Board(name="best", board_id=3, revision=1, operator=Operator.BEST, actions=frozenset({"race"}))
LAST = Board(
    name="last", board_id=4, revision=1, operator=Operator.LAST, period=PeriodKind.WEEK, zone=ZoneInfo("Asia/Tokyo")
)
BOARDS = (ALL, DAILY, BEST, LAST)

CHANGES = st.builds(
    LedgerChange,
    user_ref=st.integers(1, 3),
    action_id=st.sampled_from(["race", "win"]),
    score_change=st.integers(-5, 5),
    value=st.none() | st.integers(-3, 3),
    accepted_at=st.integers(-30, 30).map(lambda hours: MIDNIGHT + timedelta(hours=hours)),
)


def _fold(changes: list[LedgerChange], applied_at: datetime = NOON) -> dict[tuple[BoardKey, int], EntryChange]:
    closes_at = dict.fromkeys(boards_touched(BOARDS, changes))
    folded = fold(BOARDS, changes, applied_at=applied_at, closes_at=closes_at)
    return {(row.board, row.user_ref): row for rows in folded.values() for row in rows}


@given(changes=st.lists(CHANGES, max_size=30), shuffled=st.randoms())
def test_the_order_of_the_rows_does_not_matter(changes: list[LedgerChange], shuffled: Random) -> None:
    other = list(changes)
    shuffled.shuffle(other)
    assert _fold(changes) == _fold(other)


@given(changes=st.lists(CHANGES, max_size=30))
def test_a_sum_adds_up_each_row_with_a_change_once(changes: list[LedgerChange]) -> None:
    folded = _fold(changes)
    for user in (1, 2, 3):
        own = [change for change in changes if change.user_ref == user and change.score_change]
        entry = folded.get((BoardKey(1, BEGINNING), user))
        if not own:
            assert entry is None
        else:
            assert entry is not None
            assert entry.score == sum(change.score_change for change in own)
            assert entry.reached_at == max(change.accepted_at for change in own)


@given(changes=st.lists(CHANGES, max_size=30))
def test_no_key_comes_twice_and_keys_are_sorted(changes: list[LedgerChange]) -> None:
    closes_at = dict.fromkeys(boards_touched(BOARDS, changes))
    for rows in fold(BOARDS, changes, applied_at=NOON, closes_at=closes_at).values():
        keys = [(row.board, row.user_ref) for row in rows]
        assert keys == sorted(set(keys))


def test_one_update_feeds_every_board_that_its_action_feeds() -> None:
    change = LedgerChange(9, "race", 50, 42, NOON)
    assert _fold([change]) == {
        (key, 9): EntryChange(key, 9, score, NOON)
        for key, score in (
            (BoardKey(1, BEGINNING), 50),
            (BoardKey(2, datetime(2026, 11, 24, tzinfo=UTC)), 50),
            (BoardKey(3, BEGINNING), 42),
            (BoardKey(4, datetime(2026, 11, 22, 15, tzinfo=UTC)), 42),  # Monday in Tokyo
        )
    }


def test_a_board_ignores_actions_that_it_does_not_list() -> None:
    assert (BoardKey(3, BEGINNING), 9) not in _fold([LedgerChange(9, "win", 50, None, NOON)])


def test_the_best_value_stays_with_the_earlier_of_equal_ones() -> None:
    later = NOON + timedelta(hours=1)
    changes = [LedgerChange(9, "race", 1, value, at) for value, at in ((7, later), (7, NOON), (3, later))]
    assert _fold(changes)[BoardKey(3, BEGINNING), 9] == EntryChange(BoardKey(3, BEGINNING), 9, 7, NOON)


def test_midnight_only_changes_the_key() -> None:
    before = LedgerChange(9, "win", 1, None, MIDNIGHT - timedelta(microseconds=1))
    after = LedgerChange(9, "win", 2, None, MIDNIGHT)
    folded = _fold([before, after])
    assert folded[BoardKey(2, MIDNIGHT - timedelta(days=1)), 9].score == 1
    assert folded[BoardKey(2, MIDNIGHT), 9].score == 2
    assert folded[BoardKey(1, BEGINNING), 9].score == 3


def test_a_row_that_comes_after_the_grace_counts_on_the_other_boards_alone() -> None:
    change = LedgerChange(9, "win", 5, None, NOON)
    key = BoardKey(2, MIDNIGHT - timedelta(days=1))
    closing = MIDNIGHT + timedelta(minutes=15)
    closes_at = {key: closing, BoardKey(1, BEGINNING): None}
    for applied_at, counted in ((closing - timedelta(microseconds=1), 2), (closing, 1)):
        folded = fold((ALL, DAILY), [change], applied_at=applied_at, closes_at=closes_at)
        assert len(folded[Operator.SUM]) == counted
