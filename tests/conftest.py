"""Shared fixtures: the run's servers, started when the first test asks, and each test's own part of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from scoreboard.local import database as databases
from tests import servers, waiting
from tests.servers import Database, PostgresServer, RabbitmqServer, RedisServer, Vhost

assert waiting.SCALE > 0, "SCOREBOARD_TEST_TIMEOUT_SCALE: a factor above 0"  # read before the next line
# A developer's settings must not reach the tests, nor the programs that they start.
for _name in [name for name in os.environ if name.startswith("SCOREBOARD_")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder for the servers' data that unprivileged accounts can pass."""
    folder = Path(tempfile.mkdtemp(prefix="scoreboard-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def postgres_server(servers_folder: Path) -> AsyncIterator[PostgresServer]:
    """The run's Postgres with every account's role."""
    server = await servers.start_postgres(servers_folder)
    try:
        await asyncio.to_thread(databases.make_roles, server.url(), servers.PASSWORDS)
        yield server
    finally:
        await server.running.kill()


@pytest.fixture(scope="session")
async def template_database(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that each test's own is copied from."""
    name = "template_scoreboard"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name)
    from board import migrate

    await asyncio.to_thread(migrate.migrate, postgres_server.url("scoreboard", name))
    return name


@pytest.fixture(scope="session")
async def redis_server(servers_folder: Path) -> AsyncIterator[RedisServer]:
    """The run's Redis; use `redis_view` for an empty one."""
    server = await servers.start_redis(servers_folder)
    yield server
    await server.running.kill()


@pytest.fixture(scope="session")
async def rabbitmq_server(servers_folder: Path) -> AsyncIterator[RabbitmqServer]:
    """The run's RabbitMQ."""
    server = await servers.start_rabbitmq(servers_folder)
    yield server
    await server.running.kill()
    await server.epmd.kill()


@pytest.fixture
async def database(postgres_server: PostgresServer, template_database: str) -> AsyncIterator[Database]:
    """A migrated database of this test's own: `database.url("worker")`."""
    name = f"t_{secrets.token_hex(6)}"
    url = postgres_server.url()
    await asyncio.to_thread(databases.make_database, url, name, template_database)
    yield Database(postgres_server, name)
    await asyncio.to_thread(databases.drop_database, url, name)


@pytest.fixture
async def redis_view(redis_server: RedisServer) -> AsyncIterator[RedisServer]:
    """An empty Redis: `redis_view.url("worker")`."""
    client = redis.asyncio.Redis.from_url(redis_server.url())
    await client.flushall()
    yield redis_server
    await client.flushall()
    await client.aclose()


@pytest.fixture
async def vhost(rabbitmq_server: RabbitmqServer) -> AsyncIterator[Vhost]:
    """A vhost of this test's own: `vhost.url("worker")`; declare the queues with board.queues.declare."""
    own = await servers.make_vhost(rabbitmq_server)
    yield own
    await servers.delete_vhost(own)
