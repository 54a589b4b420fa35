"""Shared fixtures: the run's servers, started when the first test asks, and each test's own part of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from xdist.scheduler import LoadScopeScheduling

from scoreboard.local import database as databases
from scoreboard.local import ports
from tests import hop, servers, sizes, waiting
from tests.fault.process import Rabbitmq
from tests.fault.timeline import Timeline
from tests.servers import Database, PostgresServer, RabbitmqServer, RedisServer, Vhost

SHM = Path("/dev/shm")
SHM_BYTES_MIN = 4 * 2**30

assert waiting.SCALE > 0, "SCOREBOARD_TEST_TIMEOUT_SCALE: a factor above 0"  # read before the next lines
assert sizes.SOAK in (False, True)
assert hop.HOP
# A developer's settings must not reach the tests, nor the programs that they start.
for _name in [name for name in os.environ if name.startswith("SCOREBOARD_")]:
    del os.environ[_name]


# Apart from those that meshes take, and of each test process its own: a port that waits for its server looks free.
_width = 1_500
ports.FIRST_PORT = 9_000 + _width * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
ports.LAST_PORT = ports.FIRST_PORT + _width - 1

if not sizes.SOAK and SHM.is_dir() and shutil.disk_usage(SHM).free > SHM_BYTES_MIN:
    # A database, a vhost and a folder a test: in memory they cost a third less. The full sizes are shown on a disk.
    tempfile.tempdir = str(SHM)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Gives the run a folder of its own: pytest that keeps none (pyproject.toml) takes those of runs beside it, too."""
    if not config.option.basetemp:  # xdist gives its processes parts of it
        root = os.environ.get("PYTEST_DEBUG_TEMPROOT")
        config.option.basetemp = tempfile.mkdtemp(prefix="scoreboard-pytest-", dir=root)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


#: Files whose tests share what takes long to start, by where they are. Of two names that fit, the longer one counts.
SHARED = {
    "tests/e2e": "the mesh",
    "tests/e2e/test_error_table.py": "the gateway",
    "tests/e2e/test_gateway.py": "the gateway",
    "tests/e2e/test_gateway_alone.py": "a gateway",
    "tests/e2e/test_hostile_requests.py": "the gateway",
    "tests/e2e/test_key_rotation.py": "a deployment",
    "tests/e2e/test_readme.py": "the README's mesh",
    "tests/e2e/test_regions.py": "two regions",
    "tests/e2e/test_telemetry.py": "a mesh with traces",
    "tests/fault": "the broker that may break",
    "tests/integration/test_rabbitmq.py": "the broker that may break",
}
#: What takes longest begins first, so that all processes end at about the same time.
LONGEST = (
    *dict.fromkeys(SHARED.values()),
    "tests/web/test_live_board.py",  # at a mesh of its own
    "tests/integration/test_supervisor.py",
    "tests/integration/test_worker.py",
)


def group_of(nodeid: str) -> str:
    """Returns the group of tests that stay in one process: what they share, and else their file."""
    file = nodeid.partition("::")[0]
    fitting = [place for place in SHARED if file.startswith(place)]
    return SHARED[max(fitting, key=len)] if fitting else file


class ByServers(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Shares out groups of tests, instead of modules and classes, among pytest-xdist's processes."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers:
    """Is asked by pytest-xdist. (Its own --dist loadgroup does not know pytest 9.2's node ids.)"""
    config.option.loadscopereorder = False
    return ByServers(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the longest groups first where processes share out the work."""
    if hasattr(config, "workerinput"):
        places = {group: place for place, group in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(group_of(item.nodeid), len(places)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before a test's timeout begins
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Begins no test shortly before midnight UTC: in its midst the boards of the day, and caps, would begin anew."""
    waiting.clear_of_midnight()
    return (yield)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder for the servers' data that unprivileged accounts can pass."""
    folder = Path(tempfile.mkdtemp(prefix="scoreboard-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


#: The fixtures of the run's servers, and what starts each.
START: Mapping[str, Callable[[Path], Coroutine[Any, Any, PostgresServer | RedisServer | RabbitmqServer]]] = {
    "postgres_server": servers.start_postgres,
    "redis_server": servers.start_redis,
    "rabbitmq_server": servers.start_rabbitmq,
}


@pytest.fixture(scope="session")
async def started(request: pytest.FixtureRequest, servers_folder: Path) -> AsyncIterator[dict[str, Any]]:
    """The servers that some test of this run needs, by fixture: started together, and killed together at the end."""
    needed = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    starts = {name: asyncio.create_task(start(servers_folder)) for name, start in START.items() if name in needed}
    await asyncio.wait(starts.values())
    try:
        yield {name: start.result() for name, start in starts.items()}
    finally:
        await asyncio.gather(*(start.result().kill() for start in starts.values() if start.exception() is None))


@pytest.fixture(scope="session")
async def postgres_server(started: dict[str, Any]) -> PostgresServer:
    """The run's Postgres with every account's role."""
    server: PostgresServer = started["postgres_server"]
    await asyncio.to_thread(databases.make_roles, server.url(), servers.PASSWORDS)
    return server


@pytest.fixture(scope="session")
async def template_database(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that each test's own is copied from."""
    name = "template_scoreboard"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name)
    from board import migrate

    await asyncio.to_thread(migrate.migrate, postgres_server.url("scoreboard", name))
    return name


@pytest.fixture(scope="session")
def redis_server(started: dict[str, Any]) -> RedisServer:
    """The run's Redis; use `redis_view` for an empty one."""
    server: RedisServer = started["redis_server"]
    return server


@pytest.fixture(scope="session")
def rabbitmq_server(started: dict[str, Any]) -> RabbitmqServer:
    """The run's RabbitMQ."""
    server: RabbitmqServer = started["rabbitmq_server"]
    return server


@pytest.fixture(scope="session")
def timeline() -> Timeline:
    """What happens to servers and services that tests may break."""
    return Timeline()


@pytest.fixture(scope="session")
async def breakable_rabbitmq(servers_folder: Path, timeline: Timeline) -> AsyncIterator[Rabbitmq]:
    """A RabbitMQ that tests may kill and freeze, and leave running."""
    folder = servers_folder / "breakable"
    folder.mkdir()
    broker = Rabbitmq(await servers.start_rabbitmq(folder), timeline)
    yield broker
    await broker.end()


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
