"""Every alert fires when it should and stays quiet when it should, by promtool; each has a runbook that exists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import slo
from scoreboard.local.installed import debian_program

TREE = Path(__file__).resolve().parents[2]
GROUPS = [
    group
    for path in sorted((TREE / "monitoring" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One alert: at a time, with some series, it fires for these labels; with others it is quiet.

    interval: between two samples of the series; evaluated: between two evaluations of the rules.
    """

    alert: str
    at: str
    fires: Series
    labels: dict[str, str]
    quiet: Series
    interval: str = "1m"
    evaluated: str = "1m"


P = 'job="scoreboard",process="worker-1"'
WORKER = {"job": "scoreboard", "process": "worker-1"}


def pool(busy: int) -> Series:
    return {
        f'scoreboard_postgres_connections{{{P},pool="main",state="busy"}}': f"{busy}x10",
        f'scoreboard_postgres_connections_max{{{P},pool="main"}}': "10x10",
    }


def loop(late: int) -> Series:
    name = f"scoreboard_loop_delay_seconds_bucket{{{P}"
    within = {"0.25": 300 - late, "0.5": 300, "+Inf": 300}
    return {f'{name},le="{bound}"}}': f"0+{count}x15" for bound, count in within.items()}


def fetches(failed: int, ok: int) -> Series:
    name = f"scoreboard_jwks_fetches_total{{{P}"
    return {f'{name},result="failed"}}': f"0+{failed}x15", f'{name},result="ok"}}': f"0+{ok}x15"}


def edge(faults: int) -> Series:
    prefix = 'job="envoy",envoy_http_conn_manager_prefix="edge"'
    return {
        f'envoy_http_downstream_rq_xx{{{prefix},envoy_response_code_class="5"}}': f"0+{faults}x15",
        f"envoy_http_downstream_rq_completed{{{prefix}}}": "0+1000x15",
    }


def slow(readers: int) -> Series:
    return {f'scoreboard_stream_endings_total{{{P},ending="SLOW_CONSUMER"}}': f"0+{readers}x15"}


def one(name: str, values: str, labels: str = P) -> Series:
    return {f"{name}{{{labels}}}": values}


DEAD = 'reason="TOO_OLD"'
CAUSES = (
    Case("ProcessDown", "2m", one("up", "1 0x5"), WORKER, one("up", "1 0 1x5")),
    Case(
        "ProcessRestarts",
        "6m",
        one("process_start_time_seconds", "1 2 3 4x5"),
        WORKER,
        one("process_start_time_seconds", "1 2x8"),
    ),
    Case("NotReady", "4m", one("scoreboard_ready", "0x5"), WORKER, one("scoreboard_ready", "0 1x5")),
    Case("LoopBlocked", "12m", loop(6), WORKER, loop(2)),
    Case(
        "FilesRunOut",
        "6m",
        one("process_open_fds", "90x9") | one("process_max_fds", "100x9"),
        WORKER,
        one("process_open_fds", "70x9") | one("process_max_fds", "100x9"),
    ),
    Case("PoolExhausted", "6m", pool(10), WORKER | {"pool": "main"}, pool(9)),
    Case("KeysNotFetched", "12m", fetches(60, 0), WORKER | {"result": "failed"}, fetches(60, 1)),
    Case("GatewayDown", "2m", one("up", "0x5", 'job="envoy"'), {"job": "envoy"}, one("up", "1x5", 'job="envoy"')),
    Case(
        "NoHostBehindGateway",
        "2m",
        one("envoy_cluster_membership_healthy", "0x5", 'envoy_cluster_name="score"'),
        {"envoy_cluster_name": "score"},
        one("envoy_cluster_membership_healthy", "1x5", 'envoy_cluster_name="score"'),
    ),
    Case("GatewayErrors", "12m", edge(20), {}, edge(5)),
    Case(
        "BrokerAway",
        "2m",
        one("scoreboard_broker_connected", "0x5"),
        WORKER,
        one("scoreboard_broker_connected", "0 1x5"),
    ),
    Case(
        "BrokerBlocked",
        "2m",
        one("scoreboard_broker_blocked", "1x5"),
        WORKER,
        one("scoreboard_broker_blocked", "1 0x5"),
    ),
    Case(
        "QueueGrows",
        "6m",
        one("rabbitmq_detailed_queue_messages_ready", "200x9", 'queue="scoreboard.updates"'),
        {"queue": "scoreboard.updates"},
        one("rabbitmq_detailed_queue_messages_ready", "200 0x9", 'queue="scoreboard.updates"'),
    ),
    Case(
        "JobsComeBack",
        "10m",
        one("scoreboard_worker_redelivered_total", "0x5 30x9"),
        {},
        one("scoreboard_worker_redelivered_total", "0x5 3x9"),
    ),
    Case(
        "DeadLetters",
        "10m",
        one("scoreboard_worker_dead_letters_total", "0x5 1x9", DEAD),
        {"reason": "TOO_OLD"},
        one("scoreboard_worker_dead_letters_total", "7x15", DEAD),
    ),
    Case(
        "WorkersPaused",
        "31m",
        one("scoreboard_worker_paused", "1x40"),
        {},
        one("scoreboard_worker_paused", "1x20 0x20"),
    ),
    Case(
        "PostgresAway",
        "2m",
        one("scoreboard_worker_database_away", "1x5"),
        {},
        one("scoreboard_worker_database_away", "1 0x5"),
    ),
    Case(
        "RedisAway",
        "3m",
        one("scoreboard_redis_failures_total", "0+60x15"),
        WORKER,
        one("scoreboard_redis_failures_total", "0 1x15"),
        interval="15s",
        evaluated="15s",
    ),
    Case(
        "BoardsUnsettled",
        "3m",
        one("scoreboard_worker_boards_settled", "0x9"),
        {},
        one("scoreboard_worker_boards_settled", "0 1x9"),
    ),
    Case(
        "BoardsWrong",
        "10m",
        one("scoreboard_worker_distrusts_total", "0x5 1x9", 'cause="wrong_entry"'),
        {"cause": "wrong_entry"},
        one("scoreboard_worker_distrusts_total", "0x5 1x9", 'cause="replaced"'),
    ),
    Case(
        "RowsUnplaced",
        "6m",
        one("scoreboard_worker_unplaced_rows", "5x9"),
        {},
        one("scoreboard_worker_unplaced_rows", "5 0x9"),
    ),
    Case("ExporterDown", "6m", one("up", "0x9", 'job="redis"'), {"job": "redis"}, one("up", "0 1x9", 'job="redis"')),
    Case(
        "RegionAway",
        "11m",
        one("scoreboard_region_failures_total", "0+30x15", 'region="us"'),
        {"region": "us"},
        one("scoreboard_region_failures_total", "0 1x15", 'region="us"'),
    ),
    Case(
        "PasswordGuessing",
        "16m",
        one("scoreboard_rpc_refusals_total", "0+120x20", 'reason="BAD_CREDENTIALS"'),
        {},
        one("scoreboard_rpc_refusals_total", "0+30x20", 'reason="BAD_CREDENTIALS"'),
    ),
    Case("SlowReaders", "11m", slow(9), {}, slow(2)),
)


def calls(rpc: str, faults: int, reason: str = "INTERNAL") -> Series:
    return {
        f'scoreboard_rpc_refusals_total{{rpc="{rpc}",reason="{reason}"}}': f"0+{faults}x200",
        f'scoreboard_rpc_duration_seconds_count{{rpc="{rpc}"}}': "0+1000x200",
    }


def late(bucket: str, all_: str, le: str, share: int) -> Series:
    return {f'{bucket}_bucket{{le="{le}"}}': f"0+{1000 - share}x200", f"{all_}_count": "0+1000x200"}


def shown(share: int) -> Series:
    return late("scoreboard_worker_board_delay_seconds", "scoreboard_worker_ledger_delay_seconds", "0.5", share)


def pushed(share: int) -> Series:
    return late("scoreboard_stream_push_delay_seconds", "scoreboard_stream_push_delay_seconds", "0.25", share)


#: At which time, with a sample and an evaluation each: days at a minute each would take minutes to evaluate.
FAST_TIMES, SLOW_TIMES = ("70m", "1m", "10m"), ("25h", "10m", "1h")
#: Bad events in a thousand: more, and fewer, than the speed that each alert waits for.
FAST_CALLS, SLOW_CALLS = (16, 5), (4, 0)
FAST_DELAYS, SLOW_DELAYS = (160, 50), (40, 5)
PROMISES = tuple(
    Case(f"{name}Burn{suffix}", at, made(more), {"slo": slo_name}, made(fewer), *each)
    for name, slo_name, made, (fast, slowly) in (
        ("Updates", "updates", lambda n: calls("ScoreService/UpdateScore", n, "BROKER_AWAY"), (FAST_CALLS, SLOW_CALLS)),
        ("Reads", "reads", lambda n: calls("GET /api/scores/leaderboard", n), (FAST_CALLS, SLOW_CALLS)),
        ("SignIns", "sign_ins", lambda n: calls("AuthService/Login", n), (FAST_CALLS, SLOW_CALLS)),
        ("Shown", "shown", shown, (FAST_DELAYS, SLOW_DELAYS)),
        ("Pushed", "pushed", pushed, (FAST_DELAYS, SLOW_DELAYS)),
    )
    for suffix, (at, *each), (more, fewer) in (("Fast", FAST_TIMES, fast), ("Slowly", SLOW_TIMES, slowly))
)
CASES = (*CAUSES, *PROMISES)


def test_every_alert_has_its_two_tests() -> None:
    assert sorted(case.alert for case in CASES) == sorted(ALERTS)
    assert len(ALERTS) == len(CAUSES) + len(slo.SLOS) * len(slo.BURNS)


def test_every_alert_fires_and_stays_quiet(tmp_path: Path) -> None:
    files = [file for number, group in enumerate(GROUPS) for file in _files(tmp_path, str(number), group)]
    assert promtool(*files) == ""


def test_the_tests_of_alerts_can_fail(tmp_path: Path) -> None:
    case, path = CAUSES[0], tmp_path / "wrong.test.yml"
    rules = TREE / "monitoring" / "rules" / "causes.yml"
    for wrong in (_test(case, case.quiet), _test(case, case.fires, is_quiet=True)):
        path.write_text(yaml.safe_dump(_content(rules, [wrong], case.evaluated)))
        assert case.alert in promtool(path)


def _files(folder: Path, name: str, group: dict[str, Any]) -> Iterator[Path]:
    """Writes the tests of a group's alerts, with its rules alone: promtool evaluates all rules that it is given."""
    rules = folder / f"{name}.yml"
    rules.write_text(yaml.safe_dump({"groups": [group]}))
    alerts = {rule["alert"] for rule in group["rules"] if "alert" in rule}
    for evaluated in {case.evaluated for case in CASES if case.alert in alerts}:
        mine = [case for case in CASES if case.alert in alerts and case.evaluated == evaluated]
        tests = [_test(case, case.fires) for case in mine] + [_test(case, case.quiet, is_quiet=True) for case in mine]
        path = folder / f"{name}.{evaluated}.test.yml"
        path.write_text(yaml.safe_dump(_content(rules, tests, evaluated)))
        yield path


def _content(rules: Path, tests: list[dict[str, Any]], evaluated: str) -> dict[str, Any]:
    return {"rule_files": [str(rules)], "evaluation_interval": evaluated, "tests": tests}


def promtool(*files: Path) -> str:
    """What promtool has against the tests of these files; nothing when they pass."""
    done = subprocess.run(
        [debian_program("promtool", "prometheus"), "test", "rules", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _test(case: Case, series: Series, *, is_quiet: bool = False) -> dict[str, Any]:
    rule = ALERTS[case.alert]
    labels = case.labels | rule["labels"]
    shown_labels = {name: value for name, value in case.labels.items() if name != "slo"}
    annotations = {name: _filled(text, shown_labels) for name, text in rule["annotations"].items()}
    expected = [] if is_quiet else [{"exp_labels": labels, "exp_annotations": annotations}]
    return {
        "name": f"{case.alert} {'stays quiet' if is_quiet else 'fires'}",
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"alertname": case.alert, "eval_time": case.at, "exp_alerts": expected}],
    }


def _filled(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_has_a_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    runbook = TREE / rule["annotations"]["runbook_url"]
    assert runbook.parent == TREE / "docs" / "runbooks"
    assert alert in runbook.read_text()


def test_every_runbook_is_an_alerts() -> None:
    named = {rule["annotations"]["runbook_url"] for rule in ALERTS.values()}
    assert {f"docs/runbooks/{path.name}" for path in (TREE / "docs" / "runbooks").glob("*.md")} == named
