"""No goal of the bench is met by a setting: its mesh differs from that of a plain `scoreboard up` in rate limits alone.

Compared is what runs: arguments and environment of each process, what Postgres, Redis and Envoy say of their settings,
the files that the others read. `pytest -s` prints the differences.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote_plus
from urllib.request import urlopen

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from bench import mesh as bench
from scoreboard.local import state
from scoreboard.local.postgres import SUPERUSER
from tests.meshes import new_mesh
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)  # two meshes, from nothing
FILES = ("nginx.conf", "rabbitmq/rabbitmq.conf", "rabbitmq/plugins")
#: What may differ: rates and bounds on connections, and the gateway's shields, with the waits that they tell.
MAY_DIFFER = re.compile(
    r"up argument --(updates|logins)-per-minute"
    r"|\w+ variable SCOREBOARD_(UPDATES_PER_MINUTE|LOGINS_PER_MINUTE|STREAM_PER_ADDRESS_MAX)"
    r"|envoy\b.*\.token_bucket\.(max_tokens|tokens_per_fill)"
    r"|envoy\b.*\.local_reply_config\.mappers\.[0-7]\.headers_to_add\b.*"
)
RATES = {"up argument --updates-per-minute", "score_svc variable SCOREBOARD_UPDATES_PER_MINUTE"}

Settings = dict[str, str]


@pytest.fixture(scope="module")
def meshes() -> Iterator[tuple[Path, Path]]:
    """The data folders of a plain mesh, and of one as the bench starts it."""
    with bench.folder() as plain, bench.folder() as benchs, ExitStack() as stack:
        stack.callback(bench.down, plain)
        port = new_mesh(plain).port
        # Python's own variables, as the bench gives them on: readline, which pytest loads, adds LINES behind its back.
        up = [bench.SCOREBOARD, "up", "--detach", "--port", str(port), "--data", str(plain)]
        subprocess.run(up, check=True, env=dict(os.environ))
        stack.callback(bench.down, benchs)
        bench.up(benchs)
        yield plain, benchs


async def test_the_benchs_mesh_differs_from_a_plain_one_in_rate_limits_alone(meshes: tuple[Path, Path]) -> None:
    plain, benchs = [await _settings(data, _ports(meshes)) for data in meshes]
    found = _differences(plain, benchs)
    print("", *(f"{name}: {_short(plain.get(name))} → {_short(benchs.get(name))}" for name in sorted(found)), sep="\n")
    assert len(plain) > 500  # it did look
    assert found >= RATES
    assert {name for name in found if not MAY_DIFFER.fullmatch(name)} == set()


async def test_a_guard_that_is_off_in_the_bench_is_found(meshes: tuple[Path, Path]) -> None:
    ports, benchs = _ports(meshes), meshes[1]
    plain = await _settings(meshes[0], ports)
    superuser = await asyncpg.connect(state.postgres_url(benchs, SUPERUSER))
    redis = Redis.from_url(state.redis_url(benchs))
    try:
        await superuser.execute("ALTER ROLE worker SET synchronous_commit = off")
        await superuser.execute("ALTER SYSTEM SET full_page_writes = off")
        await _reload(superuser, benchs, "off")
        await redis.config_set("appendfsync", "no")
        found = _differences(plain, await _settings(benchs, ports))
    finally:
        await superuser.execute("ALTER ROLE worker RESET synchronous_commit")
        await superuser.execute("ALTER SYSTEM RESET full_page_writes")
        await _reload(superuser, benchs, "on")
        await redis.config_set("appendfsync", "everysec")
        await superuser.close()
        await redis.aclose()
    assert {name for name in found if not MAY_DIFFER.fullmatch(name)} == {
        "postgres role worker",
        "postgres setting full_page_writes",
        "redis setting appendfsync",
    }


async def _reload(superuser: asyncpg.Connection, data: Path, full_page_writes: str) -> None:
    """Have Postgres read its settings, and wait until whoever connects meets them: it is told by a signal."""
    await superuser.execute("SELECT pg_reload_conf()")

    async def is_met() -> bool:
        connection = await asyncpg.connect(state.postgres_url(data, SUPERUSER))
        try:
            return bool(await connection.fetchval("SHOW full_page_writes") == full_page_writes)
        finally:
            await connection.close()

    await eventually(is_met, what=f"full_page_writes {full_page_writes}")


@pytest.mark.parametrize(
    "name",
    [
        "postgres setting fsync",
        "postgres argument -cfsync",
        "redis setting appendonly",
        "score_svc variable SCOREBOARD_JWKS_URL",
        "worker-1 argument 2",
        "rabbitmq/rabbitmq.conf 5",
        "envoy.static_resources.listeners.0.local_reply_config.mappers.8.headers_to_add.0.header.value",
        "envoy.static_resources.listeners.0.http_filters.3.typed_config.providers.scoreboard.issuer",
    ],
)
def test_guards_may_not_differ(name: str) -> None:
    assert not MAY_DIFFER.fullmatch(name)


def test_a_setting_that_is_by_chance_a_port_of_one_mesh_is_no_difference(meshes: tuple[Path, Path]) -> None:
    ports = _ports(meshes)
    by_chance = str(state.require(meshes[0]).ports["redis"])
    assert by_chance not in map(str, state.require(meshes[1]).ports.values())
    seen = {_own(data, ports).sub("", f"port {by_chance}, {by_chance}000 files") for data in meshes}
    assert seen == {f"port , {by_chance}000 files"}


def _differences(one: Settings, other: Settings) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _short(value: str | None) -> str:
    return "none" if value is None else textwrap.shorten(value, 60)


def _ports(meshes: Iterable[Path]) -> set[int]:
    return {port for data in meshes for port in state.require(data).ports.values()}


async def _settings(data: Path, ports: Iterable[int]) -> Settings:
    """Returns all settings of a mesh by name, without what any two have of their own: ports, passwords, folder.

    ports: of all meshes that are compared.
    """
    mesh = state.require(data)
    found: Settings = {}
    for process in (mesh.supervisor, *mesh.running()):
        found |= _of_process(process.name, psutil.Process(process.pid))
    for name in FILES:
        found |= {f"{name} {number}": line for number, line in enumerate((data / name).read_text().splitlines(), 1)}
    found |= _flat("rabbitmq definitions", json.loads((data / "rabbitmq/definitions.json").read_text()))
    found |= _of_envoy(mesh) | await _of_postgres(data) | await _of_redis(data)
    own = _own(data, ports)
    return {name: own.sub("", value) for name, value in found.items() if not name.endswith(".password_hash")}


def _of_process(name: str, process: psutil.Process) -> Settings:
    command, found = [argument for argument in process.cmdline() if argument], {}  # Redis blanks what it writes over
    for number, argument in enumerate(command):
        option, _, value = argument.partition("=") if argument.startswith("-c") else (argument, "", "")
        before = command[number - 1] if number else ""
        key = option if value else before if before.startswith("--") else str(number)
        found[f"{name} argument {key}"] = value or argument
    return found | {f"{name} variable {key}": value for key, value in process.environ().items()}


async def _of_postgres(data: Path) -> Settings:
    connection = await asyncpg.connect(state.postgres_url(data, SUPERUSER))
    try:
        settings = await connection.fetch("SELECT name, setting FROM pg_settings")
        roles = await connection.fetch(
            "SELECT r.rolname, s.setconfig::text FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole"
        )
    finally:
        await connection.close()
    return {f"postgres setting {row['name']}": row["setting"] for row in settings} | {
        f"postgres role {row['rolname']}": row["setconfig"] for row in roles
    }


async def _of_redis(data: Path) -> Settings:
    async with Redis.from_url(state.redis_url(data), decode_responses=True) as redis:
        return {f"redis setting {name}": str(value) for name, value in (await redis.config_get("*")).items()}


def _of_envoy(mesh: state.MeshState) -> Settings:
    with urlopen(f"http://127.0.0.1:{mesh.ports['envoy-admin']}/config_dump", timeout=10) as answer:
        (dump,) = (one["bootstrap"] for one in json.load(answer)["configs"] if "bootstrap" in one)
    return _flat("envoy", dump)


def _flat(name: str, value: object) -> Settings:
    """Returns the leaves of a document, each by its path."""
    if isinstance(value, Mapping | list):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        return {path: leaf for key, part in parts for path, leaf in _flat(f"{name}.{key}", part).items()}
    return {name: str(value)}


def _own(data: Path, ports: Iterable[int]) -> re.Pattern[str]:
    """Matches what no two meshes share: the folder, the secrets, the ports."""
    secrets = _flat("", json.loads((data / "secrets.json").read_text())).values()
    # In an URL the folder is quoted: there it leads to a service's password.
    words = sorted((str(data), quote_plus(str(data)), *filter(None, secrets)), key=len, reverse=True)
    numbers = "|".join(map(str, ports))
    return re.compile("|".join([*map(re.escape, words), rf"\b({numbers})\b"]))
