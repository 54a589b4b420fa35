"""k8s/: Postgres, Redis and RabbitMQ run as in the local mesh, on which everything else is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoreboard.local import servers
from scoreboard.local.accounts import ACCOUNTS
from scoreboard.local.postgres import POSTGRES_OPTIONS
from scripts import cluster
from tests.k8s.rendered import OVERLAYS, PRODUCTION, of_kind, pod

#: Of the local mesh alone: where it listens.
LOCAL = {"listen_addresses", "unix_socket_directories"}


def _options(argv: tuple[str, ...] | list[str]) -> dict[str, str]:
    """`--name value …` as a mapping."""
    return dict(zip([name.removeprefix("--") for name in argv[::2]], argv[1::2], strict=True))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_redis_is_as_durable_and_evicts_as_little(overlay: str, tmp_path: Path) -> None:
    local = _options(servers.redis(tmp_path, 6379, dict.fromkeys(ACCOUNTS, "x")).argv[1:])
    given = _options(pod(overlay, "redis").container["args"])
    for name in ("appendonly", "appendfsync", "save", "maxmemory-policy"):
        assert given[name] == local[name]
    if overlay in PRODUCTION:
        assert (given["port"], given["tls-port"]) == ("0", "6379")


def test_postgres_of_dev_has_the_local_options() -> None:
    argv = pod("dev", "postgres").container["args"]
    assert set(argv[::2]) == {"-c"}
    given = dict(option.split("=") for option in argv[1::2])
    assert given == {name: value for name, value in POSTGRES_OPTIONS.items() if name not in LOCAL}


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_postgres_of_production_is_as_durable(overlay: str) -> None:
    (spec,) = (doc["spec"] for doc in of_kind(overlay, "Cluster").values())
    given = spec["postgresql"]["parameters"]
    # fsync and synchronous_commit are the operator's to set, as its defaults: on.
    for name in ("max_connections", "max_wal_size", "timezone", "log_timezone"):
        assert given[name] == POSTGRES_OPTIONS[name]
    assert spec["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
    assert spec["instances"] >= 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rabbitmq_waits_as_long_for_an_ack(overlay: str) -> None:
    if overlay == "dev":
        text = (cluster.K8S / "overlays" / "dev" / "rabbitmq.conf").read_text()
    else:
        (spec,) = (doc["spec"] for doc in of_kind(overlay, "RabbitmqCluster").values())
        text = spec["rabbitmq"]["additionalConfig"]
    given = dict(line.split(" = ") for line in text.splitlines() if line and not line.startswith("#"))
    local = dict(line.split(" = ") for line in servers.rabbitmq_conf(Path("/x"), {}).splitlines())
    assert given["consumer_timeout"] == local["consumer_timeout"]
    if overlay == "dev":
        assert given.keys() == local.keys()
