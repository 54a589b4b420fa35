"""TLS to Postgres, Redis and RabbitMQ by the settings' URLs: certificates are checked, and nothing falls back."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
import redis.asyncio
import uvloop

from board.migrate import migrate
from mesh import postgres
from mesh.amqp import Address, BrokerAway, Link
from mesh.redis import AWAY, connect
from scoreboard.local.accounts import OWNER
from scoreboard.local.ports import Ports
from tests.certificates import Authority, Certificate
from tests.fault.process import Rabbitmq
from tests.fault.timeline import Timeline
from tests.servers import Database, PostgresServer, RabbitmqServer, RedisServer, Vhost
from tests.tls_front import tls_front
from tests.workers import Bench

CERTIFICATE = re.compile("certificate", re.IGNORECASE)  # what each driver speaks of
NAME = "localhost"  # what the certificates are for: 127.0.0.1, the same server, is another name
LISTEN = """
rabbit_networking:ensure_ssl(),
rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, [{{cacertfile, "{authority}"}},
  {{certfile, "{certificate}"}}, {{keyfile, "{key}"}}, {{versions, ['tlsv1.3', 'tlsv1.2']}}], 2).
"""


@dataclass(frozen=True)
class Encrypted:
    """Where the run's servers speak TLS. stranger: an authority that vouches for none of them."""

    authority: Path
    stranger: Path
    postgres_port: int
    redis_port: int
    rabbitmq_port: int
    broker: Rabbitmq

    def postgres(self, url: str, authority: Path | None = None, host: str = NAME) -> str:
        own = _at(url, host, self.postgres_port)
        return f"{own}?sslmode=verify-full&sslrootcert={quote(str(authority or self.authority))}"

    def redis(self, url: str, authority: Path | None = None, host: str = NAME) -> str:
        own = _at(url, host, self.redis_port).replace("redis://", "rediss://")
        return f"{own}?ssl_ca_certs={quote(str(authority or self.authority))}"

    def rabbitmq(self, url: str, authority: Path | None = None, host: str = NAME) -> str:
        own = _at(url, host, self.rabbitmq_port).replace("amqp://", "amqps://")
        return f"{own}?cacertfile={quote(str(authority or self.authority))}"


def _at(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{host}:{port}").geturl()


@pytest.fixture(scope="module")
async def encrypted(
    postgres_server: PostgresServer, redis_server: RedisServer, rabbitmq_server: RabbitmqServer, servers_folder: Path
) -> AsyncIterator[Encrypted]:
    """The run's servers, which speak TLS as well until the end of the module."""
    folder = Path(tempfile.mkdtemp(dir=servers_folder))
    authority, stranger, ports = Authority(folder), Authority(folder, "stranger"), Ports()
    own = authority.issue("server", NAME)
    redis_port, rabbitmq_port = ports.take("redis-tls"), ports.take("rabbitmq-tls")
    ports.release_all()
    broker = Rabbitmq(rabbitmq_server, Timeline())
    listen = LISTEN.format(port=rabbitmq_port, authority=own.authority, certificate=own.certificate, key=own.key)
    async with tls_front(postgres_server.port, own) as postgres_port, _redis_with(redis_server, own, redis_port):
        await broker.ctl("eval", listen)
        yield Encrypted(authority.file, stranger.file, postgres_port, redis_port, rabbitmq_port, broker)
        await broker.ctl("eval", f'rabbit_networking:stop_tcp_listener({{"127.0.0.1", {rabbitmq_port}}}).')


@asynccontextmanager
async def _redis_with(server: RedisServer, own: Certificate, port: int) -> AsyncIterator[None]:
    settings = {
        "tls-auth-clients": "no",
        "tls-ca-cert-file": str(own.authority),
        "tls-cert-file": str(own.certificate),
        "tls-key-file": str(own.key),
        "tls-port": str(port),
    }
    async with redis.asyncio.Redis.from_url(server.url()) as owner:
        for name, value in settings.items():
            await owner.config_set(name, value)
        yield
        await owner.config_set("tls-port", "0")


async def ask_postgres(url: str) -> None:
    async with await postgres.create_pool(url, name="tls", size=1) as pool:
        assert await pool.fetchval("SELECT current_user") == "worker"


async def ask_redis(url: str) -> None:
    async with connect(url, timeout_s=10) as client:
        assert await client.ping()


async def ask_rabbitmq(url: str) -> None:
    link = await Link.open(Address(url, "tls", 10))
    try:
        await link.channel()
    finally:
        await link.close()


def on_uvloop(ask: Callable[[], Awaitable[None]]) -> None:
    """Asks as the services do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def run() -> None:
            await ask()

        runner.run(run())


async def test_each_driver_checks_the_servers_certificate(
    encrypted: Encrypted, database: Database, redis_view: RedisServer, vhost: Vhost
) -> None:
    postgres_url, redis_url, rabbitmq_url = (own.url("worker") for own in (database, redis_view, vhost))
    for ask, url, made, refused in (
        (ask_postgres, postgres_url, encrypted.postgres, OSError),
        (ask_redis, redis_url, encrypted.redis, AWAY),
        (ask_rabbitmq, rabbitmq_url, encrypted.rabbitmq, BrokerAway),
    ):
        await asyncio.to_thread(on_uvloop, lambda ask=ask, made=made, url=url: ask(made(url)))  # type: ignore[misc]
        with pytest.raises(refused, match=CERTIFICATE):
            await ask(made(url, encrypted.stranger))
        with pytest.raises(refused, match=CERTIFICATE):
            await ask(made(url, None, "127.0.0.1"))


async def test_the_systems_authorities_count_where_the_url_names_none(
    encrypted: Encrypted, redis_view: RedisServer, vhost: Vhost
) -> None:
    with pytest.raises(AWAY, match=CERTIFICATE):
        await ask_redis(encrypted.redis(redis_view.url("worker")).partition("?")[0])
    with pytest.raises(BrokerAway, match=CERTIFICATE):
        await ask_rabbitmq(encrypted.rabbitmq(vhost.url("worker")).partition("?")[0])


async def test_a_server_without_tls_is_away_for_who_wants_it(
    encrypted: Encrypted, redis_view: RedisServer, vhost: Vhost
) -> None:
    plain = replace(encrypted, redis_port=redis_view.port, rabbitmq_port=vhost.server.port)
    with pytest.raises(AWAY):
        await ask_redis(plain.redis(redis_view.url("worker")))
    with pytest.raises(BrokerAway):
        await ask_rabbitmq(plain.rabbitmq(vhost.url("worker")))


async def test_a_tls_connection_to_redis_that_ended_unnoticed_is_redis_being_away_for_one_call(
    encrypted: Encrypted, redis_view: RedisServer
) -> None:
    async def ask() -> None:
        async with connect(encrypted.redis(redis_view.url("worker")), timeout_s=10) as client:
            connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            await client.connection_pool.release(connection)
            assert connection._writer is not None
            connection._writer.transport.abort()
            with pytest.raises(AWAY):
                await client.ping()
            assert await client.ping()

    await asyncio.to_thread(on_uvloop, ask)


async def test_migrations_run_over_tls(encrypted: Encrypted, database: Database) -> None:
    await asyncio.to_thread(migrate, encrypted.postgres(database.url(OWNER)))
    with pytest.raises(psycopg.OperationalError, match=CERTIFICATE):
        await asyncio.to_thread(migrate, encrypted.postgres(database.url(OWNER), encrypted.stranger))


async def test_a_service_whose_urls_say_so_has_no_connection_without_tls(
    encrypted: Encrypted, bench: Bench, database: Database, redis_view: RedisServer, vhost: Vhost
) -> None:
    urls = {
        "postgres_url": encrypted.postgres(database.url("worker")),
        "redis_url": encrypted.redis(redis_view.url("worker")),
        "rabbitmq_url": encrypted.rabbitmq(vhost.url("worker")),
    }
    async with bench.workers(1, **urls):
        # The front of Postgres takes nobody without TLS, and the URL names nothing else.
        assert await bench.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'worker' AND datname = current_database()"
        )
        clients = [each for each in await bench.redis.client_list() if each["user"] == "worker"]
        assert clients
        assert {each["laddr"].rpartition(":")[2] for each in clients} == {str(encrypted.redis_port)}
        listed = await encrypted.broker.ctl("list_connections", "-p", vhost.name, "user", "ssl")
        assert {line for line in listed.splitlines() if line.startswith("worker")} == {"worker\ttrue"}
