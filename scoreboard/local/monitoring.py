"""Prometheus, Alertmanager and the exporters beside a mesh, as programs of our own (`scoreboard up --with-monitoring`).

Everything listens on 127.0.0.1, looks at this mesh alone and keeps its data below the mesh's folder. Rules and
dashboards stand in monitoring/.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from scoreboard.local import accounts, probe, secrets, services
from scoreboard.local.files import write_private
from scoreboard.local.installed import debian_program
from scoreboard.local.program import Program
from scoreboard.local.services import TREE, Wiring
from scoreboard.local.state import DATABASE

FOLDER = TREE / "monitoring"
PORTS = ("prometheus", "alertmanager", "redis-exporter", "postgres-exporter", "rabbitmq-prometheus")
#: What each process answers when it is ready.
READY_PATHS = {
    "prometheus": "/-/ready",
    "alertmanager": "/-/ready",
    "redis-exporter": "/metrics",
    "postgres-exporter": "/metrics",
}
RABBITMQ_PLUGINS = ("rabbitmq_prometheus",)
LOOK_S = 5  # between two looks at a process; 15 does where there are many
KEPT = "15d"  # burn rates look back three days
#: What we look at of Envoy's thousands of figures.
ENVOY_FILTER = (
    r"^(cluster\..*(membership_|upstream_rq_(xx|[245]xx|time|active|pending|timeout)|upstream_cx_active)"
    r"|http\.edge\.(downstream_(rq|cx)|rbac|jwt)|.*local_rate_limit|server\.(memory|uptime))"
)


def programs(folder: Path, wiring: Wiring, webhook: str | None) -> list[Program]:
    """Returns Prometheus, Alertmanager and the exporters. webhook: told of alerts; None: they wait for `amtool`."""
    ports = wiring.ports
    return [
        prometheus(folder, ports["prometheus"], prometheus_configuration(ports, FOLDER / "rules")),
        alertmanager(folder, ports["alertmanager"], alertmanager_configuration(webhook)),
        *exporters(wiring),
    ]


def prometheus(folder: Path, port: int, configuration: Mapping[str, object]) -> Program:
    """Prometheus with this configuration."""
    home = _home(folder, "prometheus")
    write_private(home / "prometheus.yml", _text(configuration))
    url = f"http://127.0.0.1:{port}"
    return _program(
        "prometheus",
        (
            debian_program("prometheus", "prometheus"),
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--storage.tsdb.retention.time={KEPT}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url={url}",
            "--log.level=warn",
        ),
        port,
    )


def alertmanager(folder: Path, port: int, configuration: Mapping[str, object]) -> Program:
    """Alertmanager with this configuration."""
    home = _home(folder, "alertmanager")
    write_private(home / "alertmanager.yml", _text(configuration))
    return _program(
        "alertmanager",
        (
            debian_program("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={home / 'alertmanager.yml'}",
            f"--storage.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",  # one alone has nobody to gossip with
            "--log.level=warn",
        ),
        port,
    )


def exporters(wiring: Wiring) -> list[Program]:
    """What shows Redis' and Postgres' own figures; the passwords come by the environment, as they are at each start."""
    ports, exporter = wiring.ports, accounts.EXPORTER

    def redis_password() -> Mapping[str, str]:
        return {"REDIS_PASSWORD": secrets.load(wiring.data).redis[exporter]}

    def postgres_url() -> Mapping[str, str]:
        password = secrets.load(wiring.data).postgres[exporter]
        url = accounts.postgres_url(exporter, password, ports["postgres"], DATABASE)
        return {"DATA_SOURCE_NAME": f"{url}?sslmode=disable"}

    redis = {"REDIS_ADDR": f"redis://127.0.0.1:{ports['redis']}", "REDIS_USER": exporter}
    return [
        _exporter("redis-exporter", ports, redis, redis_password, "-config-command=-"),
        _exporter(
            "postgres-exporter",
            ports,
            {},
            postgres_url,
            # Its own queries are of Postgres 15 at the newest.
            "--disable-default-metrics",
            "--disable-settings-metrics",
            "--no-collector.database",
            "--no-collector.bgwriter",
            f"--extend.query-path={FOLDER / 'postgres.yml'}",
        ),
    ]


def prometheus_configuration(ports: Mapping[str, int], rules: Path, *, look_s: float = LOOK_S) -> dict[str, object]:
    """Returns Prometheus' configuration. ports: also of `NAME-ops`, for each process of ours; rules: their folder."""
    ours = [
        _targets(ports[f"{name}-ops"], process=name, service=name.rpartition("-")[0] or name)
        for name in services.process_names()
    ]
    return {
        "global": {"scrape_interval": _ms(look_s), "scrape_timeout": _ms(look_s), "evaluation_interval": _ms(look_s)},
        "rule_files": [str(rules / "*.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [_targets(ports["alertmanager"])]}]},
        "scrape_configs": [
            {"job_name": "scoreboard", "static_configs": ours},
            {
                "job_name": "envoy",
                "metrics_path": "/stats/prometheus",
                "params": {"usedonly": [""], "filter": [ENVOY_FILTER]},
                "static_configs": [_targets(ports["envoy-admin"])],
            },
            {"job_name": "rabbitmq", "static_configs": [_targets(ports["rabbitmq-prometheus"])]},
            {
                "job_name": "rabbitmq-queues",
                "metrics_path": "/metrics/detailed",
                "params": {"family": ["queue_coarse_metrics", "queue_consumer_count"]},
                "static_configs": [_targets(ports["rabbitmq-prometheus"])],
            },
            {"job_name": "redis", "static_configs": [_targets(ports["redis-exporter"])]},
            {"job_name": "postgres", "static_configs": [_targets(ports["postgres-exporter"])]},
        ],
    }


def alertmanager_configuration(webhook: str | None) -> dict[str, object]:
    """Returns Alertmanager's configuration: pages are told at once and again each hour, tickets once a day."""
    hooks = {"webhook_configs": [{"url": webhook}]} if webhook else {}
    return {
        "route": {
            "receiver": "tickets",
            "group_by": ["alertname"],
            "group_wait": "30s",
            "repeat_interval": "24h",
            "routes": [
                {"matchers": ['severity="page"'], "receiver": "pages", "group_wait": "5s", "repeat_interval": "1h"}
            ],
        },
        # Without a process, its figures mean nothing.
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="ProcessDown"'],
                "target_matchers": ['alertname="NotReady"'],
                "equal": ["process"],
            }
        ],
        "receivers": [{"name": "pages", **hooks}, {"name": "tickets", **hooks}],
    }


def _exporter(
    name: str,
    ports: Mapping[str, int],
    environment: Mapping[str, str],
    passwords: Callable[[], Mapping[str, str]],
    *flags: str,
) -> Program:
    program, port = f"prometheus-{name}", ports[name]
    listen = f"{'-' if name == 'redis-exporter' else '--'}web.listen-address=127.0.0.1:{port}"
    argv = (debian_program(program, program), listen, *flags)
    return replace(_program(name, argv, port), environment=environment, passwords=passwords)


def _program(name: str, argv: tuple[str, ...], port: int) -> Program:
    return Program(name=name, argv=argv, port=port, is_ready=is_ready(name, port), folder=Path("/"))


def is_ready(name: str, port: int) -> Callable[[], Awaitable[bool]]:
    """Returns what asks the process of that name whether it is ready."""
    return partial(probe.http, f"http://127.0.0.1:{port}{READY_PATHS[name]}")


def _home(folder: Path, name: str) -> Path:
    home = folder / name
    home.mkdir(mode=0o700, exist_ok=True)
    return home


def _targets(port: int, **labels: str) -> dict[str, object]:
    return {"targets": [f"127.0.0.1:{port}"], "labels": labels}


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def _text(configuration: Mapping[str, object]) -> str:
    return json.dumps(configuration, indent=2) + "\n"  # JSON is YAML
