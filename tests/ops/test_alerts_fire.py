"""Each alert is seen to fire when its cause is brought about on a whole mesh, and to stop when the cause is gone.

The rules are ours; only their times are shortened, or it would take days.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.meshes import TREE, Mesh, new_mesh, scoreboard
from tests.monitored import Prometheus, hurried
from tests.ops import causes
from tests.ops.life import life
from tests.unit.test_alerts import ALERTS
from tests.waiting import SCALE, eventually

FIRES_S, STOPS_S = 150.0, 240.0
pytestmark = pytest.mark.timeout((2 * (FIRES_S + STOPS_S) + 120) * SCALE)
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: By how much times are shorter: burn rates look back for days, causes for minutes.
RANGES_BY = {"slo.yml": 360, "causes.yml": 20}
FOR_BY = 60
RANGE_MIN_S = 5.0  # ten looks
THE_UNREACHABLE = '[{"name": "there", "gateway": "http://127.0.0.1:1"}]'


@dataclass(frozen=True)
class Cause:
    """A fault, what fires while it lasts, and what fires after its end only."""

    fault: Callable[[Mesh], AbstractAsyncContextManager[None] | AbstractContextManager[None]]
    fires: frozenset[str]
    after: frozenset[str] = frozenset()


def freezing(*names: str) -> Callable[[Mesh], AbstractContextManager[None]]:
    return lambda mesh: causes.frozen(mesh, *names)


def both(name: str) -> set[str]:
    return {f"{name}BurnFast", f"{name}BurnSlowly"}


def cause(
    fault: Callable[[Mesh], AbstractAsyncContextManager[None] | AbstractContextManager[None]],
    *fires: str,
    after: frozenset[str] | set[str] = frozenset(),
) -> Cause:
    return Cause(fault, frozenset(fires), frozenset(after))


CAUSES = {
    "score_svc hangs": cause(freezing("score_svc"), "ProcessDown", "NoHostBehindGateway", "GatewayErrors"),
    "admin_svc dies": cause(partial(causes.killed, name="admin_svc", times=3), "ProcessRestarts"),
    "admin_svc stumbles": cause(partial(causes.stumbling, name="admin_svc"), "LoopBlocked"),
    "admin_svc has few files": cause(partial(causes.few_files, name="admin_svc"), "FilesRunOut"),
    "auth_svc hangs": cause(freezing("auth_svc"), "ProcessDown", "KeysNotFetched"),
    "Envoy hangs": cause(freezing("envoy"), "GatewayDown"),
    "RabbitMQ hangs": cause(
        freezing("rabbitmq"), "BrokerAway", "NotReady", "ExporterDown", "GatewayErrors", *both("Updates")
    ),
    "RabbitMQ has no memory": cause(causes.memory_alarm, "BrokerBlocked", *both("Updates")),
    "workers rest": cause(
        partial(causes.resting, messages=2 * causes.PREFETCH + 200),
        "WorkersPaused",
        "QueueGrows",
        after={"DeadLetters", *both("Shown")},
    ),
    "workers die with full hands": cause(causes.deaths_with_full_hands, "JobsComeBack"),
    "a message is no job": cause(causes.junk, "DeadLetters"),
    "Postgres hangs": cause(freezing("postgres"), "PostgresAway", "BoardsUnsettled", "ExporterDown", *both("SignIns")),
    "a table is locked": cause(causes.locked_users, "PoolExhausted"),
    "Redis hangs": cause(freezing("redis"), "RedisAway", "ExporterDown"),
    "Redis and Postgres hang": cause(freezing("redis", "postgres"), *both("Reads")),
    "Postgres goes back in time": cause(causes.back_in_time, "BoardsWrong"),
    "a row is years ahead": cause(causes.a_far_row, "RowsUnplaced"),
    "another region is away": cause(causes.asking_for_global_boards, "RegionAway"),
    "stream_svc stumbles": cause(partial(causes.stumbling, name="stream_svc"), *both("Pushed")),
    "passwords are guessed": cause(causes.guessing, "PasswordGuessing"),
    "watchers sleep": cause(causes.sleepers, "SlowReaders"),
}


def hurry(file: str, rules: str) -> str:
    """Our rules, with shorter times."""

    def shorter(seconds: float) -> str:
        return f"{1000 * seconds:.0f}ms"

    def a_range(found: re.Match[str]) -> str:
        return f"[{shorter(max(RANGE_MIN_S, int(found[1]) * SECONDS[found[2]] / RANGES_BY[file]))}]"

    def a_wait(found: re.Match[str]) -> str:
        return f"for: {shorter(int(found[1]) * SECONDS[found[2]] / FOR_BY)}"

    return re.sub(r"\bfor: (\d+)([smhd])", a_wait, re.sub(r"\[(\d+)([smhd])\]", a_range, rules))


@pytest.fixture(scope="module")
async def mesh(servers_folder: Path) -> AsyncIterator[Mesh]:
    """A mesh of this module's own, in which a hundred players have scored and everyone goes on."""
    own = new_mesh(servers_folder / "mesh")
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SCOREBOARD_REGION", "here")
            environment.setenv("SCOREBOARD_OTHER_REGIONS", THE_UNREACHABLE)
            rates = ("--updates-per-minute", "100000", "--logins-per-minute", "100000")
            await own.up(*rates, "--with-monitoring")
        played = await scoreboard("demo", "--players", "110", "--seconds", "5", "--json", "--data", str(own.data))
        assert played.code == 0, played.out + played.err
        async with life(own):
            yield own
    finally:
        await own.kill()


@pytest.fixture(scope="module")
async def prometheus(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """The hurried one."""
    async with httpx.AsyncClient(timeout=20) as http, hurried(mesh, tmp_path_factory.mktemp("hurried"), hurry) as url:
        yield Prometheus(url, http)


def test_no_time_of_the_rules_stays_as_long_as_it_was() -> None:
    for file in RANGES_BY:
        rules = hurry(file, (TREE / "monitoring" / "rules" / file).read_text())
        assert re.search(r"(\[|for: )\d+ms", rules)
        assert not re.search(r"(\[|for: )(?!\d+ms\b)\d", rules)


def test_every_alert_has_a_cause() -> None:
    assert frozenset().union(*(each.fires | each.after for each in CAUSES.values())) == set(ALERTS)


@pytest.mark.parametrize("name", CAUSES)
async def test_an_alert_fires_and_stops(mesh: Mesh, prometheus: Prometheus, name: str) -> None:
    """Waits for quiet first: what another cause left behind proves nothing."""
    wanted = CAUSES[name]
    await until_quiet(prometheus, wanted.fires | wanted.after)
    async with AsyncExitStack() as stack:
        fault = wanted.fault(mesh)
        if isinstance(fault, AbstractAsyncContextManager):
            await stack.enter_async_context(fault)
        else:
            stack.enter_context(fault)
        await until_fired(prometheus, wanted.fires)
    await until_fired(prometheus, wanted.after)
    await until_quiet(prometheus, wanted.fires | wanted.after)
    await mesh.until_whole()


async def until_fired(prometheus: Prometheus, alerts: frozenset[str]) -> None:
    """Wait until each of them has fired, at the same time or not."""
    missing = set(alerts)

    async def have_fired() -> bool:
        missing.difference_update(await firing(prometheus))
        assert not missing, sorted(missing)
        return True

    await eventually(have_fired, FIRES_S, "every alert of this cause")


async def until_quiet(prometheus: Prometheus, alerts: frozenset[str]) -> None:
    """Wait until none of them fires."""

    async def are_quiet() -> bool:
        still = alerts & await firing(prometheus)
        assert not still, sorted(still)
        return True

    await eventually(are_quiet, STOPS_S, "the end of every alert")


async def firing(prometheus: Prometheus) -> set[str]:
    """Return the names of the alerts that fire."""
    found = await prometheus.query('ALERTS{alertstate="firing"}')
    return {alert["metric"]["alertname"] for alert in found}
