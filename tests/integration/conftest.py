"""What several of the tests on real servers start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from tests.scoring import own_database
from tests.servers import Database, PostgresServer, RedisServer, Vhost
from tests.workers import Bench


@pytest.fixture
async def bench(database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Bench]:
    """Servers of the test's own, for workers that it starts."""
    async with Bench(database, redis_view, vhost, tmp_path).opened() as opened:
        yield opened


@pytest.fixture(scope="module")
async def module_database(postgres_server: PostgresServer, template_database: str) -> AsyncIterator[Database]:
    """A migrated database for all tests of a module."""
    async with own_database(postgres_server, template_database) as made:
        yield made


@pytest.fixture(scope="module")
async def module_view(redis_server: RedisServer) -> AsyncIterator[RedisServer]:
    """The run's Redis, empty before the first test of a module and after the last."""
    async with redis.asyncio.Redis.from_url(redis_server.url()) as client:
        await client.flushall()
        yield redis_server
        await client.flushall()
