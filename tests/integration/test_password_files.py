"""A password that an URL has in a file is read at each new connection, and of two the server takes one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.exceptions import AuthenticationError

from mesh import postgres
from mesh.amqp import Address, BrokerAway, Link
from mesh.rabbitmq import Connection
from mesh.redis import AWAY, connect
from scoreboard.local.accounts import by_file
from tests.servers import Database, RedisServer, Vhost

WRONG = "not-the-password"


class File:
    """A file that holds a password, or not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds(self, text: str | None) -> None:
        """Puts this into it, or takes it away."""
        if text is None:
            self.path.unlink()
        else:
            self.path.write_text(text)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "password")


async def ask_postgres(url: str) -> None:
    async with await postgres.create_pool(url, name="file", size=1) as pool:
        assert await pool.fetchval("SELECT current_user") == "worker"


async def ask_redis(url: str) -> None:
    async with connect(url, timeout_s=10) as client:
        assert await client.ping()


async def test_postgres_takes_one_of_two(database: Database, file: File) -> None:
    whole = database.url("worker")
    url, right = by_file(whole, file.path), urlsplit(whole).password
    for good in (f"{right}\n", f"{right}\n{WRONG}\n", f"{WRONG}\n{right}"):
        file.holds(good)
        await ask_postgres(url)
    file.holds(WRONG)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask_postgres(url)
    for gone in ("\n", None):
        file.holds(gone)
        with pytest.raises(postgres.AWAY):
            await ask_postgres(url)


async def test_redis_takes_the_first(redis_view: RedisServer, file: File) -> None:
    whole = redis_view.url("worker")
    url, right = by_file(whole, file.path), urlsplit(whole).password
    file.holds(f"{right}\n{WRONG}\n")
    await ask_redis(url)
    file.holds(WRONG)
    with pytest.raises(AuthenticationError):
        await ask_redis(url)
    file.holds(None)
    with pytest.raises(AWAY):
        await ask_redis(url)


async def test_rabbitmq_is_tried_by_one_after_the_other(vhost: Vhost, file: File) -> None:
    whole = vhost.url("worker")
    url, right = by_file(whole, file.path), urlsplit(whole).password
    file.holds(f"{WRONG}\n{right}\n")
    connection = Connection(url, "file")
    connection.start()
    await connection.wait_ready(20)
    await connection.close()
    file.holds(WRONG)
    with pytest.raises(BrokerAway, match="ACCESS_REFUSED"):
        await Link.open(Address(url, "file", 10))
    file.holds(None)
    with pytest.raises(BrokerAway):
        await Link.open(Address(url, "file", 10))


async def test_a_password_that_changes_is_found_by_the_next_connection(redis_view: RedisServer, file: File) -> None:
    whole = redis_view.url("worker")
    right = urlsplit(whole).password
    assert right is not None
    file.holds(WRONG)
    async with connect(by_file(whole, file.path), timeout_s=10) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()
        file.holds(right)
        assert await client.ping()
