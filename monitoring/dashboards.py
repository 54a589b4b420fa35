"""The dashboards, as code: what each panel shows. dashboards/*.json are made of this by `python -m monitoring`.

For Grafana 10 and later. A test evaluates every query against the Prometheus of a running mesh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.slo import SLOS, record

SCHEMA_VERSION = 38  # Grafana 10's
WIDTH, HEIGHT, ACROSS = 8, 7, 3  # of the 24 columns
R = "$__rate_interval"
EDGE = '{envoy_http_conn_manager_prefix="edge"}'
BATCHES, ROWS = "scoreboard_worker_batch_duration_seconds", "scoreboard_worker_ledger_delay_seconds"


@dataclass(frozen=True)
class Panel:
    """A graph. queries: (what the legend says, PromQL); unit: as Grafana names it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Dashboard:
    """A page of panels. name: of its file and its address."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def _panel(title: str, unit: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, unit, queries)


def _quantiles(
    histogram: str, *by: str, selector: str = "", at: Sequence[float] = (0.5, 0.99)
) -> list[tuple[str, str]]:
    group = ", ".join((*by, "le"))
    legend = "".join(f" {{{{{label}}}}}" for label in by)
    return [
        (
            f"p{quantile * 100:g}{legend}",
            f"histogram_quantile({quantile}, sum by ({group}) (rate({histogram}_bucket{selector}[{R}])))",
        )
        for quantile in at
    ]


def _rate(counter: str, *by: str, selector: str = "") -> tuple[str, str]:
    legend = " ".join(f"{{{{{label}}}}}" for label in by) or counter
    return legend, f"sum by ({', '.join(by)}) (rate({counter}{selector}[{R}]))"


OVERVIEW = Dashboard(
    "overview",
    "Scoreboard: overview",
    (
        _panel(
            "Budgets of the promises: how much is left of 30 days at the speed of the last hour",
            "percentunit",
            *((slo.name, f"1 - {record(slo, '1h')} / {slo.budget:g}") for slo in SLOS),
        ),
        _panel("Updates by answer", "ops", _rate("scoreboard_score_answers_total", "status")),
        _panel(
            "Refused updates by reason",
            "ops",
            _rate("scoreboard_score_answers_total", "reason", selector='{status="refused"}'),
        ),
        _panel(
            "Updates accepted, counted, and met again",
            "ops",
            ("accepted", f"sum(rate(scoreboard_score_accepted_total[{R}]))"),
            ("in the ledger", f"sum(rate(scoreboard_worker_ledger_rows_total[{R}]))"),
            ("repeats at the door", f'sum(rate(scoreboard_score_claims_total{{claim="seen"}}[{R}]))'),
            ("repeats in the worker", f"sum(rate(scoreboard_worker_duplicates_total[{R}]))"),
        ),
        _panel("From acceptance to the ledger", "s", *_quantiles("scoreboard_worker_ledger_delay_seconds")),
        _panel("From acceptance to the boards", "s", *_quantiles("scoreboard_worker_board_delay_seconds")),
        _panel("From acceptance to the screen", "s", *_quantiles("scoreboard_stream_push_delay_seconds")),
        _panel(
            "Watching",
            "short",
            ("boards watched", "sum(scoreboard_stream_watchers)"),
            ("WebSockets", "sum(scoreboard_stream_websockets)"),
            ("frames a second", f"sum(rate(scoreboard_stream_frames_total[{R}]))"),
        ),
        _panel(
            "Given up and waiting",
            "short",
            ("dead letters", "max(pg_dead_letters_unresolved)"),
            ("updates in the queue", 'max(rabbitmq_detailed_queue_messages_ready{queue="scoreboard.updates"})'),
            ("updates on their way", "sum(scoreboard_score_on_way)"),
        ),
    ),
)

CALLS = Dashboard(
    "calls",
    "Scoreboard: calls",
    (
        _panel("Calls", "ops", _rate("scoreboard_rpc_duration_seconds_count", "rpc")),
        _panel("Refusals by reason", "ops", _rate("scoreboard_rpc_refusals_total", "rpc", "reason")),
        _panel("Duration, p50", "s", *_quantiles("scoreboard_rpc_duration_seconds", "rpc", at=(0.5,))),
        _panel("Duration, p99", "s", *_quantiles("scoreboard_rpc_duration_seconds", "rpc", at=(0.99,))),
        _panel("Calls in flight", "short", ("{{process}}", "scoreboard_rpc_in_flight")),
        _panel(
            "Open streams",
            "short",
            ("{{rpc}}", "sum by (rpc) (scoreboard_rpc_open_streams)"),
            _rate("scoreboard_rpc_streams_total", "rpc"),
        ),
        _panel(
            "At the gateway, by class of answer",
            "ops",
            (
                "{{envoy_response_code_class}}xx",
                f"sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{EDGE}[{R}]))",
            ),
        ),
        _panel("Reads of boards by who answered", "ops", _rate("scoreboard_board_reads_total", "process", "source")),
        _panel("Password hashes", "s", *_quantiles("scoreboard_auth_hash_duration_seconds")),
    ),
)

RESOURCES = Dashboard(
    "resources",
    "Scoreboard: processes and what they stand on",
    (
        _panel("CPU", "percentunit", ("{{process}}", f'rate(process_cpu_seconds_total{{job="scoreboard"}}[{R}])')),
        _panel("Memory", "bytes", ("{{process}}", 'process_resident_memory_bytes{job="scoreboard"}')),
        _panel("Event loop: how late, p99", "s", *_quantiles("scoreboard_loop_delay_seconds", "process", at=(0.99,))),
        _panel("Open files", "percentunit", ("{{process}}", 'process_open_fds{job="scoreboard"} / process_max_fds')),
        _panel("Ready", "short", ("{{process}}", "scoreboard_ready")),
        _panel(
            "Pools: share in use",
            "percentunit",
            (
                "{{process}} Postgres {{pool}}",
                'scoreboard_postgres_connections{state="busy"} / ignoring (state) scoreboard_postgres_connections_max',
            ),
            (
                "{{process}} Redis {{pool}}",
                'scoreboard_redis_connections{state="busy"} / ignoring (state) scoreboard_redis_connections_max',
            ),
            ("password hashes", "scoreboard_auth_hashes / scoreboard_auth_hashes_max"),
        ),
        _panel(
            "Round trips, p99", "s", *_quantiles("scoreboard_round_duration_seconds", "process", "round", at=(0.99,))
        ),
        _panel(
            "Questions a round trip, and waiting",
            "short",
            (
                "{{process}} {{round}}",
                f"rate(scoreboard_round_questions_total[{R}]) / rate(scoreboard_round_duration_seconds_count[{R}])",
            ),
            ("{{process}} {{round}} waiting", "scoreboard_round_waiting"),
        ),
        _panel("Confirms of RabbitMQ", "s", *_quantiles("scoreboard_broker_confirm_duration_seconds", "process")),
        _panel(
            "Workers: a batch",
            "s",
            *_quantiles("scoreboard_worker_batch_duration_seconds"),
        ),
        _panel(
            "Workers: jobs a batch",
            "short",
            (
                "{{process}}",
                f"rate({ROWS}_count[{R}]) / rate({BATCHES}_count[{R}])",
            ),
        ),
        _panel(
            "Failures",
            "ops",
            _rate("scoreboard_redis_failures_total", "process"),
            _rate("scoreboard_broker_failures_total", "process", "failure"),
            _rate("scoreboard_worker_redelivered_total", "process"),
            _rate("scoreboard_worker_retries_total", "process"),
            _rate("scoreboard_stream_read_failures_total", "process"),
        ),
    ),
)

SERVERS = Dashboard(
    "servers",
    "Scoreboard: servers",
    (
        _panel("Queues: messages ready", "short", ("{{queue}}", "rabbitmq_detailed_queue_messages_ready")),
        _panel("Queues: messages in hand", "short", ("{{queue}}", "rabbitmq_detailed_queue_messages_unacked")),
        _panel(
            "RabbitMQ: memory",
            "bytes",
            ("used", "rabbitmq_process_resident_memory_bytes"),
            ("limit", "rabbitmq_resident_memory_limit_bytes"),
        ),
        _panel(
            "RabbitMQ: free disk",
            "bytes",
            ("free", "rabbitmq_disk_space_available_bytes"),
            ("limit", "rabbitmq_disk_space_available_limit_bytes"),
        ),
        _panel("Redis: memory", "bytes", ("used", "redis_memory_used_bytes")),
        _panel("Redis: commands", "ops", ("commands", f"rate(redis_commands_processed_total[{R}])")),
        _panel(
            "Postgres: connections",
            "short",
            ("{{state}}", "pg_connections_count"),
            ("limit", "pg_settings_max_connections"),
        ),
        _panel(
            "Postgres: transactions",
            "ops",
            ("committed", f"rate(pg_database_commits[{R}])"),
            ("rolled back", f"rate(pg_database_rollbacks[{R}])"),
            ("deadlocks", f"rate(pg_database_deadlocks[{R}])"),
        ),
        _panel("Postgres: size", "bytes", ("database", "pg_database_size_bytes")),
        _panel("Postgres: oldest transaction", "s", ("age", "pg_oldest_transaction_seconds")),
        _panel("Gateway: hosts alive", "short", ("{{envoy_cluster_name}}", "envoy_cluster_membership_healthy")),
        _panel(
            "Gateway: connections",
            "short",
            ("clients", f"envoy_http_downstream_cx_active{EDGE}"),
        ),
    ),
)

ALL = (OVERVIEW, CALLS, RESOURCES, SERVERS)


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """Returns what Grafana imports."""
    return {
        "uid": f"scoreboard-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["scoreboard"],
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": [_panel_json(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


def queries(dashboards: Iterable[Dashboard] = ALL) -> list[str]:
    """Returns every query of the dashboards."""
    return [query for dashboard in dashboards for panel in dashboard.panels for _, query in panel.queries]


def _panel_json(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": WIDTH * (number % ACROSS), "y": HEIGHT * (number // ACROSS), "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": source, "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries)
        ],
    }
