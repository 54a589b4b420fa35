"""One worker at a time, where several would only do the same work: an advisory lock of Postgres.

Holds always: nothing is right because of this lock (versions, ids and row locks see to that); it goes with its
session, so a worker that dies leaves nothing locked.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from mesh.sql import Connection, load

_SQL = load("worker", "lock.sql")

# Any numbers, as long as nothing else in the database takes them.
VIEW_LOCK = 0x5C02EB0A2E  # builds or sweeps
RECONCILE_LOCK = 0x5C02EB0A2F
REBUILD_LOCK = 0x5C02EB0A30  # builds what an operator asked for
ARCHIVE_LOCK = 0x5C02EB0A31
SEAL_LOCK = 0x5C02EB0A32


@asynccontextmanager
async def only_one(pool: asyncpg.Pool, lock: int) -> AsyncIterator[Connection | None]:
    """Yields the connection whose session holds the lock until the end of the block; None: another worker has it."""
    async with pool.acquire() as conn:
        if not await conn.fetchval(_SQL["try_lock"], lock):
            yield None
            return
        yield conn  # the pool unlocks it with whatever else the session holds, when it takes it back
