"""Makes the partitions of the coming months, and warns when rows had to go without one.

Holds always: a missing partition stops nothing, since the DEFAULT one takes the rows; the upkeep moves them later.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import asyncpg

from board import ledger
from worker.failure import is_nobodys

log = logging.getLogger(__name__)

AHEAD = timedelta(days=731)  # 24 months: dead letters and operators on holiday are far younger
LOOK_S = 60.0  # a row without a partition is warned of within this
RETRY_S = 5.0


async def keep_partitions(pool: asyncpg.Pool) -> None:
    """Looks each minute until cancelled: a look that finds nothing to do costs two small reads."""
    while True:
        try:
            await look(pool)
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
    unplaced = await ledger.count_unplaced(pool)
    if unplaced:
        log.warning("Rows without a partition", extra={"event": "rows_unplaced", "rows": unplaced})
    made = await ledger.ensure_partitions(pool, datetime.now(UTC) + AHEAD)
    if made:
        log.info("Partitions made", extra={"event": "partitions_made", "partitions": made})
    return made
