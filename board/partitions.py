"""The monthly partitions of the ledger and of entries."""

from datetime import datetime
from uuid import UUID

from mesh.sql import Executor, load

_SQL = load("board", "partitions.sql")


async def ensure_partitions(db: Executor, until: datetime) -> int:
    """Makes the monthly partitions up to `until` and returns how many were missing.

    Raises asyncpg.LockNotAvailableError after 5 s of waiting for a writer: try again later.
    """
    return int(await db.fetchval(_SQL["ensure_partitions"], until))


async def count_unplaced(db: Executor) -> int:
    """Returns how many ledger rows and entries lie in a DEFAULT partition: more than 0 is worth a warning."""
    return int(await db.fetchval(_SQL["count_unplaced"]))


async def oldest_id(db: Executor) -> UUID | None:
    """Returns where the oldest partition of the ledger begins: a job with a lower id is too old to be applied."""
    oldest: UUID | None = await db.fetchval(_SQL["oldest_partition"])
    return oldest
