"""A whole mesh with Prometheus beside it: what it exports, what dashboards and rules find, and an alert on its way."""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import psutil
import pytest
import typer
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from mesh.metric_table import LABELS, LIBRARY, TABLE, Described
from monitoring import dashboards
from scoreboard.cli import app
from scoreboard.client import Client, ScoreboardError
from scoreboard.local import services, state
from tests.e2e.commands import cli, told
from tests.e2e.pages import read_blocks
from tests.meshes import TREE, Mesh
from tests.monitored import Prometheus, hurried, plain
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)
SERIES_MAX = 1_500  # of a process: more would be a label that holds what it must not
HOT_S = 60.0  # two looks at everything, on a loaded machine
PAGES = (TREE / "docs" / "monitoring.md", *sorted((TREE / "docs" / "runbooks").glob("*.md")))
#: What the runbooks' commands may change here is changed by tests of its own.
CHANGES = ("apply", "pause", "resume", "rebuild", "dead-letters replay", "up", "down")
BUILT_IN = {"le"}


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
async def prometheus(running: Mesh, http: httpx.AsyncClient) -> Prometheus:
    """The mesh's own, after some load of every kind."""
    await play(running)
    return Prometheus(state.require(running.data).monitoring["prometheus"], http)


async def play(mesh: Mesh) -> None:
    """Signs in, scores, is refused, reads and watches, so that each figure has something to tell."""
    gateway = mesh.url.removeprefix("http://")
    async with Client(gateway) as client, Client(gateway) as guest:
        name = f"mon-{secrets.token_hex(6)}"
        await client.register(name, "correct horse battery")
        with suppress(ScoreboardError):
            await guest.login(name, "wrong horse battery")
        # With the own place: the row itself may stand below the first hundred of a mesh that was played on.
        async with aclosing(client.watch(limit=100, me=True)) as watching:
            for _ in range(8):
                await anext(watching)
                await client.score("win-round")
        for _ in range(2):  # once a day
            with suppress(ScoreboardError):
                await client.score("daily-bonus")
        await client.top(3)
        await client.rank()


async def exported(mesh: Mesh, process: str, http: httpx.AsyncClient) -> str:
    port = state.require(mesh.data).ports[f"{process}-ops"]
    answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("process", services.process_names())
async def test_a_process_exports_what_the_table_says_and_nothing_else(
    running: Mesh, prometheus: Prometheus, process: str
) -> None:
    service = process.rpartition("-")[0] or process
    wanted = {metric.name: metric for metric in (*TABLE.values(), *LIBRARY.values()) if service in metric.processes}
    families = list(text_string_to_metric_families(await exported(running, process, prometheus.http)))
    found = {family.name + "_total" * (family.type == "counter"): family for family in families}
    assert sorted(found) == sorted(wanted)
    for name, family in found.items():
        assert family.type == wanted[name].kind
        for sample in family.samples:
            assert_labelled(wanted[name], sample.labels)
    assert sum(len(family.samples) for family in families) < SERIES_MAX


def assert_labelled(metric: Described, labels: dict[str, str]) -> None:
    own = {name: value for name, value in labels.items() if name not in BUILT_IN}
    assert set(own) == set(metric.labels), metric.name
    for name, value in own.items():
        assert re.fullmatch(LABELS[name], value), f"{metric.name}: {name}={value!r}"


async def test_the_gateway_has_no_way_to_the_metrics(running: Mesh, http: httpx.AsyncClient) -> None:
    for path in ("/metrics", "/api/metrics", "/stats/prometheus"):
        answer = await http.get(running.url + path)
        assert answer.status_code == 404
        assert "process_cpu_seconds_total" not in answer.text


async def test_status_says_where_prometheus_is(running: Mesh) -> None:
    status = await told(running, "status")
    shown = {process["name"]: process["port"] for process in status["processes"]}
    assert status["prometheus"] == f"http://127.0.0.1:{shown['prometheus']}"
    assert status["alertmanager"] == f"http://127.0.0.1:{shown['alertmanager']}"
    assert status["prometheus"] in (await cli(running, "status")).out


async def test_every_target_is_up(prometheus: Prometheus) -> None:
    async def down() -> list[str]:
        targets = (await prometheus.ask("targets", state="active"))["activeTargets"]
        assert len(targets) == len(services.process_names()) + 5
        return [f"{each['labels']['job']}: {each['lastError']}" for each in targets if each["health"] != "up"]

    async def all_up() -> bool:
        assert await down() == []
        return True

    await eventually(all_up, HOT_S, "every target up")


async def test_every_panel_shows_something(running: Mesh, prometheus: Prometheus) -> None:
    await play(running)  # again: a process that another test restarted since has forgotten what it counted
    missing = {plain(query) for query in dashboards.queries()}
    assert len(missing) > 50
    for query in missing:
        promql_parser.parse(query)

    async def all_shown() -> bool:
        for query in sorted(missing):
            if await prometheus.query(query):
                missing.discard(query)
        assert not missing, missing
        return True

    await eventually(all_shown, HOT_S, "every panel with something to show")


async def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    async def all_well() -> bool:
        groups = (await prometheus.ask("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) > 60
        assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
        return True

    await eventually(all_well, HOT_S, "every rule evaluated")


async def test_an_update_is_counted_on_its_whole_way(running: Mesh, prometheus: Prometheus) -> None:
    async def total(process: str, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(await exported(running, process, prometheus.http))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    async def figures() -> list[float]:
        workers = services.worker_names()
        return [
            sum([await total(each, "scoreboard_worker_ledger_rows_total", outcome="applied") for each in workers]),
            sum([await total(each, "scoreboard_worker_ledger_delay_seconds_count") for each in workers]),
            sum([await total(each, "scoreboard_worker_board_delay_seconds_count") for each in workers]),
            await total("score_svc", "scoreboard_score_claims_total", claim="new"),
            await total("score_svc", "scoreboard_score_accepted_total"),
            await total("score_svc", "scoreboard_score_answers_total"),
        ]

    async with Client(running.url.removeprefix("http://")) as client:
        await client.guest()
        before = await figures()
        for _ in range(3):
            await client.score("collect-coin")

        async def are_counted() -> bool:
            grown = [after - value for after, value in zip(await figures(), before, strict=True)]
            assert grown[:4] == [3] * 4
            assert min(grown) == 3  # a machine that is slow makes the client ask twice
            return True

        await eventually(are_counted)


async def test_workers_that_rest_are_seen_to_rest(running: Mesh, prometheus: Prometheus) -> None:
    for command, seen in (("pause", 1.0), ("resume", 0.0)):
        assert (await cli(running, command, "--reason", "a test")).code == 0

        async def is_seen(seen: float = seen) -> bool:
            return await prometheus.value("min(scoreboard_worker_paused)") == seen

        await eventually(is_seen, HOT_S, f"scoreboard_worker_paused {seen}")


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[str, asyncio.Queue[dict[str, Any]]]]:
    """Yields a webhook's URL and the alerts that come to it."""
    told_of: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            told_of.put_nowait(alert)
        return web.Response()

    server = web.Application()
    server.router.add_post("/alerts", take)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/alerts", told_of
    finally:
        await runner.cleanup()


def at_once(_: str, rules: str) -> str:
    """Rules that wait for nothing."""
    return re.sub(r"for: \d+m", "for: 0s", rules)


async def test_a_process_that_hangs_is_told_to_the_webhook_and_so_is_its_return(
    running: Mesh, prometheus: Prometheus, tmp_path: Path
) -> None:
    frozen = psutil.Process(running.pid("admin_svc"))

    async def alert_of(told_of: asyncio.Queue[dict[str, Any]], status: str) -> dict[str, Any]:
        while True:
            alert = await asyncio.wait_for(told_of.get(), HOT_S * SCALE)
            if (alert["labels"]["alertname"], alert["status"]) == ("ProcessDown", status):
                return alert

    async with receiving() as (webhook, told_of), hurried(running, tmp_path, at_once, webhook):
        frozen.send_signal(signal.SIGSTOP)
        try:
            alert = await alert_of(told_of, "firing")
        finally:
            frozen.send_signal(signal.SIGCONT)
        assert alert["labels"]["process"] == "admin_svc"
        assert alert["annotations"]["summary"] == "admin_svc does not answer."
        assert (TREE / alert["annotations"]["runbook_url"]).exists()
        await alert_of(told_of, "resolved")


def commands(page: Path) -> set[str]:
    """The commands of a page."""
    return {line for block in read_blocks(page.read_text()) for line in block.text.splitlines() if line.strip()}


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


async def test_every_command_of_the_runbooks_runs(running: Mesh, prometheus: Prometheus) -> None:
    assert len(COMMANDS) > 60
    for command in COMMANDS:
        await run_command(command, running, prometheus)


async def run_command(command: str, mesh: Mesh, prometheus: Prometheus) -> None:
    program, *arguments = shlex.split(command)
    if program == ".venv/bin/scoreboard":
        if " ".join(arguments).startswith(CHANGES):
            assert_is_command(arguments)
        else:
            done = await cli(mesh, *arguments, SCOREBOARD_GATEWAY=mesh.url)
            assert done.code == 0 or arguments == ["doctor"], command + done.out + done.err
    elif program == "promtool":
        assert arguments[:3] == ["query", "instant", "$PROMETHEUS"]
        promql_parser.parse(arguments[3])
        await prometheus.query(arguments[3])
        assert_is_known(arguments[3])
    elif program == "tail":
        log = mesh.data / Path(arguments[-1]).relative_to(".scoreboard")
        assert log.exists() or log.name == "up.log", command
    else:
        raise AssertionError(f"no test runs {command}")


def assert_is_command(arguments: list[str]) -> None:
    """Parses a command's arguments as the command line does, and goes no further."""
    group: Any = typer.main.get_command(app)
    name, rest = arguments[0], arguments[1:]
    context = group.make_context("scoreboard", arguments, resilient_parsing=True)
    command = group.get_command(context, name)
    while hasattr(command, "commands"):
        name, rest = rest[0], rest[1:]
        command = command.commands[name]
    command.make_context(name, rest).close()


def assert_is_known(query: str) -> None:
    """A name of ours stands in the table: Prometheus finds nothing wrong with one that nobody exports."""
    for name in re.findall(r"\bscoreboard_\w+", query):
        assert {name, re.sub(r"_(bucket|count|sum)$", "", name)} & TABLE.keys(), name
