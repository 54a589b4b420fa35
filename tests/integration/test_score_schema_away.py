"""score_svc's readers while the schema is not what they know: a migration under way must not end them for good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from board.catalogue_store import apply_catalogue
from score_svc.catalogue import ActionsAndClients
from score_svc.ledger import LedgerAway, LedgerReader
from tests.servers import Database
from tests.waiting import SCALE, eventually

CATALOGUE = """
[actions.win-round]
points = 50
[boards.all]
"""
ANSWER_S = 5.0 * SCALE


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.url())
    await apply_catalogue(connection, CATALOGUE)
    yield connection
    await connection.close()


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database.url("score_svc"), min_size=0, max_size=2) as made:
        yield made


async def test_the_catalogue_stays_fresh_after_looks_that_failed(
    owner: asyncpg.Connection, pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ActionsAndClients(pool)
    await cache.start()
    try:
        await owner.execute("ALTER TABLE clients RENAME TO clients_elsewhere")

        def failed_looks() -> bool:
            return sum("Not read" in record.message for record in caplog.records) >= 2

        with caplog.at_level(logging.WARNING):
            await eventually(failed_looks, what="looks that fail, one after the other")
        assert await cache.action("win-round") is not None
        assert await cache.action("no-such-action") is None
        await owner.execute("ALTER TABLE clients_elsewhere RENAME TO clients")
        await owner.execute("UPDATE actions SET enabled = false")

        async def is_off() -> bool:
            return await cache.action("win-round") is None

        await eventually(is_off, what="the action that was switched off")
    finally:
        await cache.close()


async def test_a_ledger_that_cannot_be_asked_is_away_and_answers_later(
    owner: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    reader = LedgerReader(pool)
    await owner.execute("ALTER TABLE score_logs RENAME TO score_logs_elsewhere")
    async with asyncio.timeout(ANSWER_S):
        with pytest.raises(LedgerAway):
            await reader.outcome(uuid4())
    await owner.execute("ALTER TABLE score_logs_elsewhere RENAME TO score_logs")

    async def answers() -> bool:
        try:
            return await reader.outcome(uuid4()) is None
        except LedgerAway:
            return False

    await eventually(answers, what="an answer of the ledger")
