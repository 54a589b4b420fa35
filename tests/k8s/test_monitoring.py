"""k8s/overlays/prod: Prometheus finds every service's metrics under the names of the local mesh, and has its alerts."""

from __future__ import annotations

import re

import pytest
import yaml

from scoreboard.local import services
from scripts.cluster import TREE
from tests.k8s.rendered import NAME, PRODUCTION, of_kind, pods


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_the_monitor_finds_the_services_and_nothing_else(overlay: str) -> None:
    (monitor,) = of_kind(overlay, "PodMonitor").values()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    chosen = monitor["spec"]["selector"]["matchLabels"]
    found = {
        one.labels[NAME]
        for one in pods(overlay)
        if chosen.items() <= one.labels.items() and endpoint["port"] in one.ports
    }
    processes = {name.rpartition("-")[0] or name for name in services.process_names()}
    assert {name.replace("-svc", "_svc") for name in found} == processes


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_metrics_bear_the_labels_that_alerts_ask_for(overlay: str) -> None:
    (monitor,) = of_kind(overlay, "PodMonitor").values()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    rules = endpoint["relabelings"]
    assert {rule["targetLabel"] for rule in rules} == {"job", "process", "service"}
    assert {"targetLabel": "job", "replacement": "scoreboard"} in rules
    assert re.fullmatch(rules[-1]["regex"], "score-svc")


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_every_alert_of_the_local_mesh_is_there(overlay: str) -> None:
    made = {name: doc["spec"]["groups"] for name, doc in of_kind(overlay, "PrometheusRule").items()}
    files = {
        path.stem: yaml.safe_load(path.read_text())["groups"] for path in (TREE / "monitoring" / "rules").glob("*.yml")
    }
    assert made == files
