"""k8s/components/traces: an overlay that asks for traces, as docs/telemetry.md says, sends them, and no other does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from scripts import cluster
from tests.k8s.rendered import NAME, OVERLAYS, docs, of_kind, pods
from tests.k8s.test_gateway_file import passes_envoy
from tests.meshes import TREE

TELLING = {"auth-svc", "score-svc", "leaderboard-svc", "stream-svc", "admin-svc", "worker"}
COLLECTOR = "collector.tracing"


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Production with what the page says to add."""
    k8s = tmp_path_factory.mktemp("traces") / "k8s"
    shutil.copytree(cluster.K8S, k8s, ignore=shutil.ignore_patterns("node_modules"))
    found = re.search(
        r"```text\n(SCOREBOARD_TRACES.+?)```.+?```text\n(components: .+?)```",
        (TREE / "docs" / "telemetry.md").read_text(),
        re.S,
    )
    assert found
    own = k8s / "overlays" / "prod"
    for file, added in (("settings.env", found[1]), ("kustomization.yaml", found[2])):
        (own / file).write_text(f"{(own / file).read_text()}{added}")
    (own / "envoy.yaml").write_text(cluster.envoy_yaml(own))
    return own


def test_each_service_is_told_where_the_collector_is(overlay: Path) -> None:
    told = {one.labels[NAME] for one in pods(str(overlay)) if "SCOREBOARD_TRACES_ENDPOINT" in one.variables}
    assert told == TELLING
    (settings,) = (doc for name, doc in of_kind(str(overlay), "ConfigMap").items() if name.startswith("settings-"))
    assert settings["data"]["SCOREBOARD_TRACES_ENDPOINT"] == f"http://{COLLECTOR}:4317"
    for one in (one for one in pods(str(overlay)) if one.labels[NAME] in TELLING):
        for name in ("SCOREBOARD_TRACES_ENDPOINT", "SCOREBOARD_TRACES_RATIO"):
            assert one.variables[name]["valueFrom"]["configMapKeyRef"]["key"] == name


async def test_so_is_the_gateway(overlay: Path, tmp_path: Path) -> None:
    (one,) = (doc for name, doc in of_kind(str(overlay), "ConfigMap").items() if name.startswith("envoy-"))
    clusters = {
        each["name"]: each for each in yaml.safe_load(one["data"]["envoy.yaml"])["static_resources"]["clusters"]
    }
    (place,) = clusters["traces"]["load_assignment"]["endpoints"]
    address = place["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == (COLLECTOR, 4317)
    await passes_envoy(one["data"]["envoy.yaml"], overlay / "edge-tls.yaml", tmp_path)


def test_the_way_to_the_collector_is_open_to_them_and_to_nobody_else(overlay: Path) -> None:
    added = of_kind(str(overlay), "NetworkPolicy")["traces"]["spec"]
    (chosen,) = added["podSelector"]["matchExpressions"]
    assert (chosen["key"], chosen["operator"], set(chosen["values"])) == (NAME, "In", TELLING | {"envoy"})
    (rule,) = added["egress"]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tracing"}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 4317}]
    assert added["policyTypes"] == ["Egress"]


@pytest.mark.parametrize("other", OVERLAYS)
def test_who_asks_for_none_sends_none(other: str) -> None:
    assert "TRACES" not in yaml.safe_dump(list(docs(other)))
    assert "traces" not in of_kind(other, "NetworkPolicy")
