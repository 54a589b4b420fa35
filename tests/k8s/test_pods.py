"""k8s/: what each pod may, needs and tells of itself; that it ends without losing a call."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.settings import ServiceSettings
from scoreboard.local import drain
from tests.k8s.release import VERSION
from tests.k8s.rendered import NAME, OVERLAYS, Pod, of_kind, pod, pods, secret_keys, secret_values
from tests.k8s.rendered import docs as rendered_docs
from tests.unit.test_wiring import SETTINGS

ALL = [(f"{overlay}-{one.name}", one) for overlay in OVERLAYS for one in pods(overlay)]
PODS = [pytest.param(one, id=name) for name, one in ALL]
#: What stands, and is not started by hand.
STANDING = [
    pytest.param(one, id=name)
    for name, one in ALL
    if one.kind in ("Deployment", "StatefulSet") and one.doc["spec"].get("replicas") != 0
]
#: Which settings a pod's process reads.
SERVICE_PODS = {service.replace("_", "-"): settings for service, settings in SETTINGS.items()}


@pytest.mark.parametrize("one", PODS)
def test_a_pod_may_nothing_that_it_does_not_need(one: Pod) -> None:
    spec, container = one.spec, one.container
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["runAsGroup"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    box = container["securityContext"]
    assert box == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    writable = [
        volume for volume in spec["volumes"] if "emptyDir" not in volume and not {"secret", "configMap"} & volume.keys()
    ]
    assert writable == []


@pytest.mark.parametrize("one", PODS)
def test_a_pod_says_what_it_takes(one: Pod) -> None:
    resources = one.container["resources"]
    assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys()
    # No limit of the CPU: it would slow a pod on an idle node, and requests share a busy one out.
    assert {"memory", "ephemeral-storage"} == resources["limits"].keys()


@pytest.mark.parametrize("one", STANDING)
def test_pods_are_spread_over_zones_and_nodes(one: Pod) -> None:
    rules = one.spec["topologySpreadConstraints"]
    assert [rule["topologyKey"] for rule in rules] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(rule["labelSelector"]["matchLabels"] == {NAME: one.labels[NAME]} for rule in rules)


@pytest.mark.parametrize("one", STANDING)
def test_a_pod_is_asked_whether_it_lives_and_is_ready(one: Pod) -> None:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        (how,) = (probe for key, probe in one.container[name].items() if key in ("grpc", "httpGet", "tcpSocket"))
        assert how["port"] in (one.ports if isinstance(how["port"], str) else one.ports.values())


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SERVICE_PODS)
def test_a_service_is_ready_by_its_own_name_and_lives_by_none(overlay: str, name: str) -> None:
    container = pod(overlay, name).container
    service = "worker" if name == "worker" else f"scoreboard.v1.{name.removesuffix('-svc').capitalize()}Service"
    assert container["readinessProbe"]["grpc"]["service"] == service
    assert "service" not in container["livenessProbe"]["grpc"]  # which looks at no other server


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SERVICE_PODS)
def test_a_service_has_time_to_drain(overlay: str, name: str) -> None:
    one = pod(overlay, name)
    hook = one.container.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})["preStop"]["sleep"]["seconds"]
    assert hook > 0 or name == "worker"  # whom nobody calls
    drain_s, grace_s = (_seconds(one, field) for field in ("drain_s", "stop_grace_s"))
    # Streams or the batch in hand, then calls.
    assert one.spec["terminationGracePeriodSeconds"] > hook + drain_s + 2 * grace_s


def _seconds(one: Pod, field: str) -> float:
    given = one.variables.get(f"SCOREBOARD_{field.upper()}")
    return float(given["value"] if given else ServiceSettings.model_fields[field].default)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_has_time_to_drain(overlay: str) -> None:
    one = pod(overlay, "envoy")
    command = one.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:3] == ["python", "-m", drain.__name__]
    admin, seconds = command[3:]
    argv = one.container["command"]
    assert argv[argv.index("--drain-time-s") + 1] == seconds
    config = yaml.load(_config_map(overlay, one, "envoy")["envoy.yaml"], yaml.CSafeLoader)
    address = config["admin"]["address"]["socket_address"]
    assert admin == f"http://127.0.0.1:{address['port_value']}"
    assert address["address"] == "127.0.0.1"  # whoever reaches it may stop the gateway
    assert one.spec["terminationGracePeriodSeconds"] > float(seconds) + drain.LIMIT_S


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_refuses_before_it_is_killed_for_its_memory(overlay: str) -> None:
    one = pod(overlay, "envoy")
    config = yaml.load(_config_map(overlay, one, "envoy")["envoy.yaml"], yaml.CSafeLoader)
    (heap,) = (
        monitor["typed_config"]["max_heap_size_bytes"]
        for monitor in config["overload_manager"]["resource_monitors"]
        if monitor["name"].endswith("fixed_heap")
    )
    limit = one.container["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert int(limit.removesuffix("Mi")) * 2**20 > heap


def _config_map(overlay: str, one: Pod, volume: str) -> dict[str, str]:
    (name,) = (each["configMap"]["name"] for each in one.spec["volumes"] if each["name"] == volume)
    data: dict[str, str] = of_kind(overlay, "ConfigMap")[name]["data"]
    return data


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SERVICE_PODS)
def test_a_service_gets_the_settings_that_it_reads_and_no_other(overlay: str, name: str) -> None:
    one, fields = pod(overlay, name), SERVICE_PODS[name].model_fields
    (secret,) = (source["secretRef"]["name"] for source in one.container["envFrom"])
    given = one.variables.keys() | secret_keys(overlay)[secret]
    known = {f"SCOREBOARD_{field.upper()}" for field in fields}
    needed = {f"SCOREBOARD_{field.upper()}" for field, what in fields.items() if what.is_required()}
    assert given - known == set()
    assert needed - given == set()
    assert not one.variables.keys() & secret_keys(overlay)[secret]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SERVICE_PODS)
def test_the_settings_are_ones_that_the_service_takes(overlay: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = pod(overlay, name)
    values = of_kind(overlay, "ConfigMap")
    for variable, given in one.variables.items():
        if "value" in given:
            monkeypatch.setenv(variable, given["value"])
        else:
            source = given["valueFrom"]["configMapKeyRef"]
            monkeypatch.setenv(variable, values[source["name"]]["data"][source["key"]])
    for source in one.container["envFrom"]:
        for variable, text in secret_values(overlay)[source["secretRef"]["name"]].items():
            monkeypatch.setenv(variable, text)
    settings: Any = SERVICE_PODS[name]()
    assert settings.host == "0.0.0.0"
    ports = {
        field.removesuffix("_port"): getattr(settings, field)
        for field in type(settings).model_fields
        if field.endswith("_port")
    }
    own = name.removesuffix("-svc")
    assert {("grpc" if key == own else key.removeprefix(f"{own}_")): value for key, value in ports.items()} == one.ports


@pytest.mark.parametrize("one", PODS)
def test_images_are_of_this_release_or_of_a_named_one(one: Pod) -> None:
    name, _, tag = one.container["image"].rpartition(":")
    assert name
    assert tag == VERSION if one.is_ours else tag[0].isdigit()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_release_has_a_job_of_its_own_name(overlay: str) -> None:
    (job,) = of_kind(overlay, "Job")
    assert job == f"migrate-{VERSION.replace('.', '-')}"


def test_every_pod_is_looked_at() -> None:
    made = [
        doc
        for overlay in OVERLAYS
        for doc in rendered_docs(overlay)
        if "template" in doc.get("spec", {}) or "jobTemplate" in doc.get("spec", {})
    ]
    assert len(made) == len(PODS)
