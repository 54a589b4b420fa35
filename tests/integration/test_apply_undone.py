"""A batch that was undone leaves nothing behind that a later one would trust; nor is an old catalogue trusted."""

from __future__ import annotations

import time
from datetime import timedelta

import asyncpg
import pytest

from board.catalogue_cache import CatalogueCache
from board.catalogue_store import apply_catalogue
from board.job_pb2 import Job
from board.update_id import derive_update_id
from mesh import points
from tests.servers import Database
from tests.workers import CATALOGUE
from worker.apply import Applier
from worker.failure import CatalogueMissing

YESTERDAY_US = int(timedelta(days=1).total_seconds() * 1_000_000)


async def test_a_period_whose_making_was_undone_is_made_by_the_next_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncpg.create_pool(database.url("worker"), min_size=0, max_size=2) as pool:
        owner = await asyncpg.connect(database.url())
        await apply_catalogue(owner, CATALOGUE)
        await owner.execute("INSERT INTO users (user_id, username) VALUES ('ada', 'Ada')")
        catalogues = CatalogueCache(pool)
        await catalogues.learn()
        applier = Applier(pool, catalogues)
        at_us = time.time_ns() // 1000 - YESTERDAY_US
        key = derive_update_id(at_us // 1000, reporter="", user_id="ada", nonce="n")
        job = Job(update_id=key.bytes, kind="update", user_id="ada", action_id="win-round", accepted_at_us=at_us)

        def fail(name: str) -> None:
            if name == "worker.before_commit":
                raise ConnectionResetError("the database went away")

        with monkeypatch.context() as patched:
            patched.setattr(points, "reached", fail)
            with pytest.raises(ConnectionResetError):
                await applier.apply([job])
        await applier.apply([job])
        daily = "SELECT count(*) FROM board_periods JOIN boards USING (board_id) WHERE name = 'daily'"
        assert await owner.fetchval(daily) == 1
        await owner.close()


async def test_no_job_is_refused_for_good_by_a_catalogue_that_may_be_old(database: Database) -> None:
    async with asyncpg.create_pool(database.url("worker"), min_size=0, max_size=2) as pool:
        owner = await asyncpg.connect(database.url())
        await apply_catalogue(owner, CATALOGUE)
        await owner.execute("INSERT INTO users (user_id, username) VALUES ('ada', 'Ada')")
        catalogues = CatalogueCache(pool)
        await catalogues.learn()
        await apply_catalogue(owner, CATALOGUE + "[actions.new]\npoints = 7\n")
        await owner.execute("ALTER TABLE boards RENAME COLUMN operator TO operator_elsewhere")
        at_us = time.time_ns() // 1000
        key = derive_update_id(at_us // 1000, reporter="", user_id="ada", nonce="n")
        job = Job(update_id=key.bytes, kind="update", user_id="ada", action_id="new", accepted_at_us=at_us)
        applier = Applier(pool, catalogues)
        with pytest.raises(CatalogueMissing):
            await applier.apply([job])
        await owner.execute("ALTER TABLE boards RENAME COLUMN operator_elsewhere TO operator")
        result = (await applier.apply([job])).results[job.update_id]
        assert (result.reason, result.points) == ("", 7)
        await owner.close()
