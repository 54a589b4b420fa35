"""One Postgres, one Redis and one RabbitMQ for a whole test run, and what each test has of them for itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from scoreboard.local import accounts, postgres, servers
from scoreboard.local.ports import Ports
from scoreboard.local.program import Program, Running, start
from tests.waiting import SCALE

PASSWORDS: Mapping[str, str] = {account: secrets.token_urlsafe(16) for account in accounts.LOCAL_ACCOUNTS}
SUPERUSER_PASSWORD = secrets.token_urlsafe(16)


async def run(program: Program, ports: Ports, folder: Path) -> Running:
    """Start a server and wait until it answers; what is missing fails the test with its cure."""
    ports.release(program.name)
    running = await start(program, folder / f"{program.name}.log")
    try:
        await running.until_ready(program.ready_timeout_s * SCALE)
    except BaseException:
        await running.stop()
        raise
    return running


@dataclass(frozen=True)
class PostgresServer:
    """The run's Postgres. port: on 127.0.0.1."""

    port: int
    running: Running

    def url(self, account: str = postgres.SUPERUSER, database: str = "postgres") -> str:
        """Return the DSN of an account, by default the superuser's."""
        password = SUPERUSER_PASSWORD if account == postgres.SUPERUSER else PASSWORDS[account]
        return accounts.postgres_url(account, password, self.port, database)

    async def kill(self) -> None:
        """End it."""
        await self.running.stop()  # killed, it would leave shared memory behind


@dataclass(frozen=True)
class Database:
    """A test's own database, migrated; dropped after the test."""

    server: PostgresServer
    name: str

    def url(self, account: str = accounts.OWNER) -> str:
        """Return the DSN of a service's role, by default the owner's."""
        return self.server.url(account, self.name)

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """End every session of this database and take no new one until the end of the block."""
        server = await asyncpg.connect(self.server.url())
        try:
            await server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
            await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self.name)
            yield
            await server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")
        finally:
            await server.close()


@dataclass(frozen=True)
class RedisServer:
    """The run's Redis; the fixture `redis` hands it out empty. port: on 127.0.0.1."""

    port: int
    running: Running

    def url(self, account: str = accounts.OWNER) -> str:
        """Return the URL of a service's ACL user, by default the one that may do all."""
        return accounts.redis_url(account, PASSWORDS[account], self.port)

    async def kill(self) -> None:
        """End it at once."""
        await self.running.kill()


@dataclass(frozen=True)
class RabbitmqServer:
    """The run's RabbitMQ, with its management API for making vhosts. Ports on 127.0.0.1."""

    port: int
    management_port: int
    running: Running
    epmd: Running

    def url(self, account: str = accounts.OWNER, vhost: str = "scoreboard") -> str:
        """Return the URL of an account on a vhost."""
        return accounts.rabbitmq_url(account, PASSWORDS[account], self.port, vhost)

    async def kill(self) -> None:
        """End it at once, with its port mapper."""
        await asyncio.gather(self.running.kill(), self.epmd.kill())

    def api(self) -> httpx.AsyncClient:
        """Return a client of the management API, as administrator."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.management_port}/api",
            auth=(accounts.OWNER, PASSWORDS[accounts.OWNER]),
            timeout=30,
        )


@dataclass(frozen=True)
class Vhost:
    """A test's own vhost, with the accounts' rights, the policy and no queue yet; deleted after the test."""

    server: RabbitmqServer
    name: str

    def url(self, account: str = accounts.OWNER) -> str:
        """Return the URL of an account on this vhost."""
        return self.server.url(account, self.name)


async def start_postgres(folder: Path) -> PostgresServer:
    """Start Postgres with every account's role."""
    ports = Ports()
    port = ports.take("postgres")
    program = await asyncio.to_thread(postgres.postgres, folder, port, SUPERUSER_PASSWORD)  # it makes the data
    running = await run(program, ports, folder)
    return PostgresServer(port, running)


async def start_redis(folder: Path, port: int | None = None) -> RedisServer:
    """Start Redis with every account's ACL user; with `port`, again where it was."""
    ports = Ports({"redis": port} if port is not None else None)
    port = ports.take("redis")
    return RedisServer(port, await run(servers.redis(folder, port, PASSWORDS), ports, folder))


async def start_rabbitmq(folder: Path) -> RabbitmqServer:
    """Start RabbitMQ with every account and the management API."""
    ports = Ports()
    for name in ("rabbitmq-epmd", "rabbitmq", "rabbitmq-dist", "rabbitmq-management"):
        ports.take(name)
    definitions = accounts.mesh_definitions(PASSWORDS, "scoreboard")
    epmd = await run(servers.epmd(ports.numbers["rabbitmq-epmd"]), ports, folder)
    ports.release_all()
    program = servers.rabbitmq(
        folder, ports.numbers, secrets.token_hex(16), definitions, plugins=("rabbitmq_management",)
    )
    running = await run(program, ports, folder)
    return RabbitmqServer(ports.numbers["rabbitmq"], ports.numbers["rabbitmq-management"], running, epmd)


async def make_vhost(server: RabbitmqServer) -> Vhost:
    """Make a vhost with the rights and the policy of a mesh's own."""
    name = f"t-{secrets.token_hex(6)}"
    definitions = accounts.mesh_definitions(PASSWORDS, name)
    del definitions["users"]  # they are there, and a new salt would log everyone out
    async with server.api() as api:
        (await api.post("/definitions", json=definitions)).raise_for_status()
    return Vhost(server, name)


async def delete_vhost(vhost: Vhost) -> None:
    """Delete a vhost with its queues and connections."""
    async with vhost.server.api() as api:
        (await api.delete(f"/vhosts/{vhost.name}")).raise_for_status()
