"""Keeps the periods of the boards in Postgres: made when needed, closed after their grace, archived after `keep`.

board/periods.py decides where they begin and end. Holds always: a period's closing time is written once, when it is
made, and alone decides (with a ledger row's applied_at) whether the row counts there; `state` only follows it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from asyncpg import Record

from board.catalogue import BoardRule
from board.entry import BoardKey
from board.periods import END, Period
from mesh.sql import Executor, load

_SQL = load("board", "period_store.sql")


class PeriodState(IntEnum):
    """Whether a period takes updates, as the table stores it."""

    OPEN = 0
    CLOSED = 1
    ARCHIVED = 2


@dataclass(frozen=True, slots=True)
class StoredPeriod:
    """A row of board_periods. closes_at: when it takes no more late updates, None: never."""

    board: BoardKey
    period: Period
    closes_at: datetime | None
    state: PeriodState


async def ensure_periods(db: Executor, wanted: Iterable[tuple[int, BoardRule, Period]]) -> list[StoredPeriod]:
    """Makes the periods that are not there yet (board id, rule, period each) and returns all of them."""
    keyed = {BoardKey(board_id, period.start): (rule, period) for board_id, rule, period in wanted}
    ids, starts = [key.board_id for key in keyed], [key.period_start for key in keyed]
    found = await db.fetch(_SQL["read_periods"], ids, starts)
    if len(found) < len(keyed):
        ends = [period.end for _, period in keyed.values()]
        closing = [rule.closes_at(period) or END for rule, period in keyed.values()]
        labels = [period.label for _, period in keyed.values()]
        await db.execute(_SQL["ensure_periods"], ids, starts, ends, closing, labels)
        found = await db.fetch(_SQL["read_periods"], ids, starts)
    return [_stored(row) for row in found]


async def list_periods(db: Executor, board_id: int, limit: int = 100) -> list[StoredPeriod]:
    """Returns a board's newest periods, newest first; archived ones are none any more."""
    return [_stored(row) for row in await db.fetch(_SQL["list_periods"], board_id, limit)]


async def open_periods(db: Executor) -> list[StoredPeriod]:
    """Returns the periods that still take updates: those whose view is in Redis."""
    return [_stored(row) for row in await db.fetch(_SQL["open_periods"])]


async def close_periods(db: Executor) -> list[StoredPeriod]:
    """Closes the periods whose grace is over and returns them; their view in Redis may go (board.view.drop)."""
    return [_stored(row) for row in await db.fetch(_SQL["close_periods"])]


async def archive_periods(db: Executor) -> list[StoredPeriod]:
    """Archives the closed periods that their boards keep no longer and returns them; their entries may go."""
    return [_stored(row) for row in await db.fetch(_SQL["archive_periods"])]


async def archived_with_entries(db: Executor) -> list[StoredPeriod]:
    """Returns the archived periods whose entries have not all gone yet."""
    return [_stored(row) for row in await db.fetch(_SQL["archived_with_entries"])]


async def remove_entries(db: Executor, board: BoardKey, at_most: int) -> int:
    """Removes so many entries of a period at most, and returns how many; the ledger, which made them, stays."""
    return int(await db.fetchval(_SQL["remove_entries"], *board, at_most))


def _stored(row: Record) -> StoredPeriod:
    return StoredPeriod(
        BoardKey(row["board_id"], row["period_start"]),
        Period(row["period_start"], row["period_end"], row["label"]),
        None if row["closes_at"] == END else row["closes_at"],
        PeriodState(row["state"]),
    )
