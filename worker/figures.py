"""What a worker counts of the updates that it applies."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from board.ledger import LedgerRow, Outcome
from mesh import metrics
from worker.applied import Applied
from worker.decide import MALFORMED, SCORE_OUT_OF_RANGE, TOO_OLD, UNKNOWN_KIND

BATCH_DURATION = metrics.histogram("scoreboard_worker_batch_duration_seconds").child()
DATABASE_AWAY = metrics.gauge("scoreboard_worker_database_away")
DUPLICATES = metrics.counter("scoreboard_worker_duplicates_total").child()
LEDGER_DELAY = metrics.histogram("scoreboard_worker_ledger_delay_seconds").child()
BOARD_DELAY = metrics.histogram("scoreboard_worker_board_delay_seconds").child()
REDELIVERED = metrics.counter("scoreboard_worker_redelivered_total").child()
RETRIES = metrics.counter("scoreboard_worker_retries_total").child()
PAUSED = metrics.gauge("scoreboard_worker_paused")
SETTLED = metrics.gauge("scoreboard_worker_boards_settled")
MISSED = metrics.gauge("scoreboard_worker_missed_entries")
REBUILDS = metrics.counter("scoreboard_worker_rebuilds_total").child()
DISTRUSTS = metrics.counter("scoreboard_worker_distrusts_total")
COMPARED = metrics.counter("scoreboard_worker_reconciled_entries_total").child()
HEALED = metrics.counter("scoreboard_worker_reconcile_healed_total").child()
UNPLACED = metrics.gauge("scoreboard_worker_unplaced_rows").child()
_ROWS = metrics.counter("scoreboard_worker_ledger_rows_total")
_APPLIED = _ROWS.child("applied", "")
_DEAD_LETTERS = metrics.counter("scoreboard_worker_dead_letters_total")
# From the start, at 0: a counter that appears with its first event shows no increase.
for _reason in (MALFORMED, UNKNOWN_KIND, TOO_OLD, SCORE_OUT_OF_RANGE, "UNDECODABLE", "DELIVERED_TOO_OFTEN", "FAILED"):
    _DEAD_LETTERS.child(_reason)
for _cause in ("replaced", "database_went_back", "wrong_entry", "wrong_name"):
    DISTRUSTS.child(_cause)


def now() -> datetime:
    """Returns the time, as acceptances have it."""
    return datetime.now(UTC)


def settled(committed: Iterable[Applied], committed_at: datetime, shown: Iterable[Applied], shown_at: datetime) -> None:
    """Counts a batch's updates: all that were committed, and those of them that the boards have too."""
    for applied in committed:
        DUPLICATES.inc(applied.known)
        _count_rows(applied.added)
        LEDGER_DELAY.observe_all(_ages_s(applied.added, committed_at))
    for applied in shown:
        BOARD_DELAY.observe_all(_ages_s(applied.added, shown_at))


def _count_rows(rows: Sequence[LedgerRow]) -> None:
    refused = Counter(row.reason for row in rows if row.outcome is not Outcome.APPLIED)
    _APPLIED.inc(len(rows) - refused.total())
    for reason, count in refused.items():
        _ROWS.child("refused", reason or "").inc(count)


def _ages_s(rows: Sequence[LedgerRow], at: datetime) -> list[float]:
    return [(at - row.accepted_at).total_seconds() for row in rows]


def dead_letter(reason: str) -> None:
    """Counts a message that was given up; of failures alone that they were some, for each has a reason of its own."""
    _DEAD_LETTERS.child("FAILED" if reason.startswith("FAILED_") else reason).inc()
