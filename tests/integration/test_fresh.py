"""A board that is not there, while Postgres does not answer: whoever asks is answered soon, however many ask."""

from __future__ import annotations

import asyncio

import asyncpg

from board.catalogue_cache import CatalogueCache
from board.catalogue_store import apply_catalogue
from mesh.postgres import create_pool
from tests.servers import Database
from tests.waiting import SCALE, eventually
from tests.workers import CATALOGUE

ANSWER_S = 3.0 * SCALE
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'boards'::regclass"


async def test_a_postgres_that_does_not_answer_holds_nobody_who_asks_for_what_is_not_there(database: Database) -> None:
    owner = await asyncpg.connect(database.url())
    await apply_catalogue(owner, CATALOGUE)
    pool = await create_pool(database.url("leaderboard_svc"), name="test", size=2)
    cache = CatalogueCache(pool)
    await cache.start()
    assert await cache.board("all") is not None
    async with owner.transaction():
        await owner.execute("LOCK TABLE boards IN ACCESS EXCLUSIVE MODE")
        await eventually(lambda: owner.fetchval(WAITING), what="a look that waits for Postgres")
        async with asyncio.timeout(ANSWER_S):
            assert set(await asyncio.gather(*(cache.board(f"no-{n}") for n in range(50)))) == {None}
        assert await cache.board("all") is not None
    await cache.close()
    pool.terminate()
    await owner.close()
