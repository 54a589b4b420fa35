"""A mesh of the fault tests' own: three servers and five services as processes, and a gate before each link.

Holds always: a process that was killed comes back on its port with its data, and what is healed is as it was at first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from board import migrate, queues, view
from board.catalogue_store import apply_catalogue
from board.entry import BoardKey
from board.origin import read_origin
from mesh.keys import b64url
from mesh.rabbitmq import BrokerAway, Connection
from scoreboard.local import database as databases
from scoreboard.local.ports import Ports
from scoreboard.local.program import Running
from scoreboard.v1 import leaderboard_pb2_grpc, score_pb2_grpc, stream_pb2_grpc
from tests import servers, services
from tests.fault.process import Process, Rabbitmq
from tests.fault.timeline import Timeline
from tests.gate import Gate
from tests.scoring import AUDIENCE, ISSUER, Issuer, issuing
from tests.servers import Database, PostgresServer, RedisServer, Vhost
from tests.waiting import eventually
from tests.workers import CATALOGUE, DELAYS_S

DATABASE, VHOST = "scoreboard_faults", "scoreboard"
SERVERS = ("postgres", "redis", "rabbitmq")
WORKERS = ("worker-1", "worker-2")
QUIET_TIMEOUT_S = 60.0
# A channel finds a service that was started again at once, instead of after a backoff of up to two minutes.
CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]


@dataclass(frozen=True)
class _Service:
    module: str
    health_name: str
    port_setting: str
    servers: tuple[str, ...]  # that it speaks with


_SERVICES = {
    "score_svc": _Service("score_svc", "scoreboard.v1.ScoreService", "SCOREBOARD_SCORE_PORT", SERVERS),
    **{name: _Service("worker", "worker", "SCOREBOARD_WORKER_PORT", SERVERS) for name in WORKERS},
    "leaderboard_svc": _Service(
        "leaderboard_svc", "scoreboard.v1.LeaderboardService", "SCOREBOARD_LEADERBOARD_PORT", SERVERS[:2]
    ),
    "stream_svc": _Service("stream_svc", "scoreboard.v1.StreamService", "SCOREBOARD_STREAM_PORT", SERVERS[:2]),
}


@dataclass
class World:
    """The mesh. `processes` by name: the SERVERS, score_svc, the WORKERS, leaderboard_svc, stream_svc."""

    folder: Path
    postgres: PostgresServer
    redis: RedisServer
    rabbitmq: Rabbitmq
    issuer: Issuer
    timeline: Timeline
    processes: dict[str, Process] = field(default_factory=dict)
    gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    stream_http_port: int = 0

    #: The owner's own ways to the servers, past the gates.
    pool: asyncpg.Pool = field(init=False)
    view: Redis = field(init=False)
    broker: Connection = field(init=False)
    #: Stubs of the services, which find one that was started again within half a second.
    scores: Any = None
    boards: Any = None
    streams: Any = None

    @property
    def database(self) -> Database:
        """The world's database."""
        return Database(self.postgres, DATABASE)

    @property
    def vhost(self) -> Vhost:
        """The world's vhost."""
        return Vhost(self.rabbitmq.server, VHOST)

    @property
    def workers(self) -> list[Process]:
        """The workers."""
        return [self.processes[name] for name in WORKERS]

    @property
    def points(self) -> Path:
        """The folder of armed points (mesh/points.py)."""
        return self.folder / "points"

    def gate(self, service: str, server: str) -> Gate:
        """The gate between a service and a server, as in `gate("worker-1", "redis")`."""
        return self.gates[service, server]

    def gates_to(self, server: str) -> list[Gate]:
        """All services' gates to a server."""
        return [gate for (_, name), gate in self.gates.items() if name == server]

    async def heal(self) -> None:
        """Mend every link, thaw and start every process, and wait until each answers."""
        for armed in self.points.iterdir():
            armed.unlink()
        for gate in self.gates.values():
            await gate.heal()
        for name in SERVERS:
            await self.processes[name].heal()
        await asyncio.gather(*(self.processes[name].heal() for name in _SERVICES))

    async def quiet(self) -> None:
        """Wait until every process answers and no queue holds a message that waits."""

        async def is_quiet() -> bool:
            ready = await asyncio.gather(*(process.is_ready() for process in self.processes.values()))
            return all(ready) and sum((await self.queued()).values()) == 0

        await eventually(is_quiet, QUIET_TIMEOUT_S, "a quiet mesh")

    async def is_shown(self) -> bool:
        """Whether every open board is served from Redis, and no board of a database or a Redis before it."""
        rows = await self.pool.fetch("SELECT board_id, period_start FROM board_periods WHERE state = 0")
        origin = (await read_origin(self.view)).id
        return all([await view.is_right(self.view, BoardKey(*row), origin) for row in rows])

    async def queued(self) -> dict[str, int]:
        """Count the messages that wait in each queue, without those in a consumer's hand; empty: no broker."""
        names = (queues.UPDATES, queues.SUSPECTS, queues.DEAD, *map(queues.delay, DELAYS_S))
        try:
            channel = await self.broker.open_channel()
            try:
                return {name: await channel.count_ready(name) for name in names}
            finally:
                channel.close()
        except BrokerAway as e:
            raise AssertionError("no broker") from e


@asynccontextmanager
async def world(folder: Path, rabbitmq: Rabbitmq, timeline: Timeline) -> AsyncIterator[World]:
    """Yields a world in this folder, ready."""
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(issuing())
        postgres, redis_server = await asyncio.gather(servers.start_postgres(folder), servers.start_redis(folder))
        made = World(folder, postgres, redis_server, rabbitmq, issuer, timeline)
        made.processes["rabbitmq"] = rabbitmq
        for running in (postgres.running, redis_server.running):
            _add(made, running, stack)
        await _make_contents(made, stack)
        await _start_services(made, stack)
        await made.quiet()
        yield made


def _add(made: World, running: Running, stack: AsyncExitStack) -> None:
    process = Process(running, made.timeline)
    made.processes[process.name] = process
    stack.push_async_callback(process.end)


async def _make_contents(made: World, stack: AsyncExitStack) -> None:
    await asyncio.to_thread(databases.make_roles, made.postgres.url(), servers.PASSWORDS)
    await asyncio.to_thread(databases.make_database, made.postgres.url(), DATABASE)
    await asyncio.to_thread(migrate.migrate, made.database.url())
    made.pool = await asyncpg.create_pool(made.database.url(), min_size=0, max_size=4)
    stack.callback(made.pool.terminate)
    # A connection of before Redis was killed is found dead at its next use.
    made.view = Redis.from_url(made.redis.url(), retry=Retry(NoBackoff(), 2))
    stack.push_async_callback(made.view.aclose)
    async with made.pool.acquire() as conn:
        await apply_catalogue(conn, CATALOGUE)
    made.broker = Connection(made.vhost.url(), "fault tests")
    made.broker.start()
    stack.push_async_callback(made.broker.close)


async def _start_services(made: World, stack: AsyncExitStack) -> None:
    made.points.mkdir()
    keys_file = made.folder / "master-keys.json"
    keys = {str(number): b64url(key) for number, key in made.issuer.keys.keys.items()}
    keys_file.write_text(json.dumps({"current": made.issuer.keys.current, "keys": keys}))
    ports = Ports()
    made.stream_http_port = ports.take("stream_http")
    shared = {
        "SCOREBOARD_JWKS_URL": made.issuer.url,
        "SCOREBOARD_ISSUER": ISSUER,
        "SCOREBOARD_AUDIENCE": AUDIENCE,
        "SCOREBOARD_MASTER_KEYS_FILE": str(keys_file),
        "SCOREBOARD_UPDATES_PER_MINUTE": "0",
        "SCOREBOARD_WORKER_DELAYS_S": json.dumps(DELAYS_S),
        "SCOREBOARD_STREAM_HTTP_PORT": str(made.stream_http_port),
        "SCOREBOARD_TEST_POINTS": str(made.points),
    }
    started = []
    for name, service in _SERVICES.items():
        environment = shared | await _gated_urls(made, name, service, stack)
        port = ports.take(name)
        program = services.program(
            service.module, service.health_name, service.port_setting, port, environment, name=name
        )
        started.append(program)
    ports.release_all()
    for running in await asyncio.gather(*(servers.run(program, ports, made.folder) for program in started)):
        _add(made, running, stack)

    async def channel(name: str) -> grpc.aio.Channel:
        target = f"127.0.0.1:{made.processes[name].port}"
        return await stack.enter_async_context(grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS))

    made.scores = score_pb2_grpc.ScoreServiceStub(await channel("score_svc"))
    made.boards = leaderboard_pb2_grpc.LeaderboardServiceStub(await channel("leaderboard_svc"))
    made.streams = stream_pb2_grpc.StreamServiceStub(await channel("stream_svc"))


async def _gated_urls(made: World, name: str, service: _Service, stack: AsyncExitStack) -> dict[str, str]:
    urls = {
        "postgres": made.database.url(service.module),
        "redis": made.redis.url(service.module),
        "rabbitmq": made.vhost.url(service.module) if "rabbitmq" in service.servers else "",
    }
    gated = {}
    for server in service.servers:
        gate = Gate(made.processes[server].port)
        await gate.open()
        stack.push_async_callback(gate.shut)
        made.gates[name, server] = gate
        gated[f"SCOREBOARD_{server.upper()}_URL"] = gate.url(urls[server])
    return gated
