"""Folds ledger rows into one change per board, period and player.

Pure. Holds always: the result does not depend on the order of the rows, and folding a whole ledger gives what folding
its parts one after the other gives. So two workers, a replay and an auditor arrive at the same board.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from board.catalogue import Board
from board.entry import BoardKey, EntryChange, Operator
from board.periods import ALL_TIME, PeriodKind, period_at


class LedgerChange(NamedTuple):
    """What boards need of an applied ledger row. is_measure: best and last boards take it too, not only sums."""

    user_ref: int
    action_id: str
    score_change: int
    value: int | None
    accepted_at: datetime
    is_measure: bool = True

    @property
    def measure(self) -> int:
        """What best and last boards take: the reported value, or the points of an action without one."""
        return self.score_change if self.value is None else self.value


def boards_touched(boards: Iterable[Board], changes: Iterable[LedgerChange]) -> frozenset[BoardKey]:
    """Returns the periods that the changes fall into, whether these still take them or not."""
    changes = tuple(changes)
    touched: set[BoardKey] = set()
    for board in boards:
        key_at = _key_finder(board)
        touched.update(key_at(change.accepted_at) for change in changes if _counts(board, change))
    return frozenset(touched)


def fold(
    boards: Iterable[Board],
    changes: Iterable[LedgerChange],
    *,
    applied_at: datetime,
    closes_at: Mapping[BoardKey, datetime | None],
) -> dict[Operator, list[EntryChange]]:
    """Returns the changes of entries, by operator, each list in key order and without a key twice.

    applied_at: what the ledger rows carry as such. closes_at: until when a period takes late rows, None: for ever;
    every board of `boards_touched` must be in it. A row that comes later than that counts on the other boards alone.
    """
    changes = tuple(changes)
    folded: dict[Operator, list[EntryChange]] = {}
    for board in boards:
        key_at = _key_finder(board)
        entries: dict[tuple[BoardKey, int], EntryChange] = {}
        for change in changes:
            if not _counts(board, change):
                continue
            key = key_at(change.accepted_at)
            closes = closes_at[key]
            if closes is not None and applied_at >= closes:
                continue
            new = EntryChange(key, change.user_ref, _amount(board, change), change.accepted_at)
            old = entries.get((key, change.user_ref))
            entries[key, change.user_ref] = new if old is None else _join(board.operator, old, new)
        folded.setdefault(board.operator, []).extend(entries.values())
    # One order for all workers, whatever their batches hold.
    return {
        operator: sorted(rows, key=lambda row: (row.board, row.user_ref)) for operator, rows in folded.items() if rows
    }


def _counts(board: Board, change: LedgerChange) -> bool:
    if board.actions is not None and change.action_id not in board.actions:
        return False
    return change.is_measure if board.operator is not Operator.SUM else change.score_change != 0


def _key_finder(board: Board) -> Callable[[datetime], BoardKey]:
    # A batch's instants lie close together: nearly all fall into the period of the one before.
    period = ALL_TIME
    key = BoardKey(board.board_id, period.start)

    def find(instant: datetime) -> BoardKey:
        nonlocal period, key
        if board.period is PeriodKind.NONE:
            return key
        if period is ALL_TIME or not period.start <= instant < period.end:
            period = period_at(board.period, board.zone, instant)
            key = BoardKey(board.board_id, period.start)
        return key

    return find


def _amount(board: Board, change: LedgerChange) -> int:
    return change.score_change if board.operator is Operator.SUM else change.measure


def _join(operator: Operator, a: EntryChange, b: EntryChange) -> EntryChange:
    match operator:
        case Operator.SUM:
            return EntryChange(a.board, a.user_ref, a.score + b.score, max(a.reached_at, b.reached_at))
        case Operator.BEST:  # of equal values the earlier: who was there first
            return min(a, b, key=lambda entry: (-entry.score, entry.reached_at))
        case Operator.LAST:  # of equal instants the higher, so that order does not matter
            return max(a, b, key=lambda entry: (entry.reached_at, entry.score))
