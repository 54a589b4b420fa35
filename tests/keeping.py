"""A worker's care for the boards, in the test's own process, and updates as it commits them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from redis.asyncio import Redis

from board.catalogue_cache import CatalogueCache
from board.job_pb2 import Result
from board.ledger import read_names
from board.verify import verify
from mesh import tasks
from tests.boards import World, apply_rows, row
from tests.waiting import eventually
from worker.applied import Applied
from worker.views import Views


@asynccontextmanager
async def keeping(
    world: World, redis: Redis | None = None, *, on_new_database: Callable[[], None] = lambda: None
) -> AsyncIterator[Views]:
    """A worker's care for the boards, all of them ready, until the end of the block."""
    catalogues = CatalogueCache(world.worker)
    await catalogues.start()
    made = Views(world.worker, redis or world.redis, redis or world.redis, catalogues, on_new_database)
    task = asyncio.create_task(made.keep(), name="views")
    try:
        # And what a worker's start writes again is written: later it would mend what a test means to be missing.
        await eventually(lambda: made.is_settled and made._sweep_from is None)
        yield made
    finally:
        await tasks.end(task)
        await catalogues.close()


async def score(world: World, user: str, nonces: Sequence[str], points: int = 10) -> Applied:
    """Commits a player's updates of now, as a worker does, and returns what the view must show of them."""
    now = datetime.now(UTC)
    ref = await world.owner.fetchval("SELECT id FROM users WHERE user_id = $1", user)
    rows = [row(user, ref, nonce, points, at=now) for nonce in nonces]
    entries = await apply_rows(world, rows, [user], applied_at=now)
    results = {each.update_id.bytes: Result(update_id=each.update_id.bytes) for each in rows}
    return Applied(results, entries=entries, names=await read_names(world.worker, [ref]))


async def is_right(world: World) -> bool:
    """Whether ledger, entries, scores and Redis are equal; verify itself waits for Redis."""
    return (await verify(world.owner, world.redis)).differences == ()
