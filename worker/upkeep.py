"""Makes the partitions of the coming months, warns of rows that had to go without one, and drops old periods.

Holds always: a missing partition stops nothing, since the DEFAULT one takes the rows; the upkeep moves them later. What
is dropped of a period are its totals; the ledger, of which they were made, stays.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import asyncpg

from board.partitions import count_unplaced, ensure_partitions
from board.period_store import archive_periods, archived_with_entries, remove_entries
from worker import figures
from worker.failure import is_nobodys
from worker.lock import ARCHIVE_LOCK, only_one

log = logging.getLogger(__name__)

AHEAD = timedelta(days=731)  # 24 months: dead letters and operators on holiday are far younger
LOOK_S = 60.0  # a row without a partition is warned of within this
RETRY_S = 5.0
REMOVED_AT_ONCE = 5_000  # entries: whoever bans a player waits for his one
PAUSE_S = 0.2


async def keep_tidy(pool: asyncpg.Pool) -> None:
    """Looks each minute until cancelled: a look that finds nothing to do costs four small reads."""
    while True:
        try:
            await look(pool)
            await drop_old_periods(pool)
        except Exception as e:
            # A writer may hold the DEFAULT partition for longer than the function waits.
            if not (is_nobodys(e) or isinstance(e, asyncpg.LockNotAvailableError)):
                raise
            log.info("Upkeep waits", extra={"event": "upkeep_waits", "error": type(e).__name__})
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(LOOK_S)


async def look(pool: asyncpg.Pool) -> int:
    """Warns of rows without a partition, makes what partitions are missing, and returns how many those were."""
    unplaced = await count_unplaced(pool)
    figures.UNPLACED.value = unplaced
    if unplaced:
        log.warning("Rows without a partition", extra={"event": "rows_unplaced", "rows": unplaced})
    made = await ensure_partitions(pool, datetime.now(UTC) + AHEAD)
    if made:
        log.info("Partitions made", extra={"event": "partitions_made", "partitions": made})
    return made


async def drop_old_periods(pool: asyncpg.Pool) -> None:
    """Archives closed periods that are older than their boards keep them, and removes their entries, some at a time."""
    async with only_one(pool, ARCHIVE_LOCK) as conn:
        if conn is None:
            return
        for stored in await archive_periods(conn):
            extra = {"event": "period_archived", "board": stored.board.tag, "label": stored.period.label}
            log.info("Period archived", extra=extra)
        for stored in await archived_with_entries(conn):
            removed = REMOVED_AT_ONCE
            while removed == REMOVED_AT_ONCE:
                removed = await remove_entries(conn, stored.board, REMOVED_AT_ONCE)
                await asyncio.sleep(PAUSE_S)
