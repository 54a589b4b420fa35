"""k8s/: whatever an object names is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from board import queues
from scoreboard.local import accounts
from scripts import deployment_secrets
from tests.k8s.rendered import NAME, OVERLAYS, PRODUCTION, Doc, Pod, docs, external_secrets, of_kind, pods, secret_keys

PODS = [pytest.param(overlay, one, id=f"{overlay}-{one.name}") for overlay in OVERLAYS for one in pods(overlay)]
#: What the cluster brings, by kind and name (docs/kubernetes.md).
CLUSTERS_OWN = {("ClusterSecretStore", "scoreboard"), ("ClusterIssuer", "letsencrypt")}


@pytest.mark.parametrize(("overlay", "one"), PODS)
def test_a_pod_finds_its_account_its_files_and_its_secrets(overlay: str, one: Pod) -> None:
    assert one.spec["serviceAccountName"] in of_kind(overlay, "ServiceAccount")
    maps, secrets = of_kind(overlay, "ConfigMap"), secret_keys(overlay)
    volumes = {volume["name"] for volume in one.spec["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in one.doc["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in one.container["volumeMounts"]} == volumes
    for volume in one.spec["volumes"]:
        if "secret" in volume:
            keys = {item["key"] for item in volume["secret"].get("items", [])}
            assert keys <= secrets[volume["secret"]["secretName"]]
        elif "configMap" in volume:
            assert volume["configMap"]["name"] in maps
    for source in one.container.get("envFrom", []):
        assert source["secretRef"]["name"] in secrets
    for given in one.variables.values():
        match given.get("valueFrom"):
            case {"secretKeyRef": ref}:
                assert ref["key"] in secrets[ref["name"]]
            case {"configMapKeyRef": ref}:
                assert ref["key"] in maps[ref["name"]]["data"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_is_for_someone(overlay: str) -> None:
    named = set(_names(docs(overlay)))
    assert [secret for secret in secret_keys(overlay) if secret not in named] == []


def _names(value: Any) -> Iterator[str]:
    """Yields every text but the names that objects give themselves."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _names(one)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if (
                key not in ("metadata", "secretName")
                or "template" in value
                or (key == "secretName" and "dnsNames" not in value)
            ):
                yield from _names(inner)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_service_finds_pods_and_their_ports(overlay: str) -> None:
    services = of_kind(overlay, "Service")
    assert services
    for service in services.values():
        (chosen,) = (one for one in pods(overlay) if service["spec"]["selector"].items() <= one.labels.items())
        assert service["metadata"]["name"] == chosen.labels[NAME]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in chosen.ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_choose_their_own_pods(overlay: str) -> None:
    for one in pods(overlay):
        if one.kind in ("Deployment", "StatefulSet"):
            assert one.doc["spec"]["selector"]["matchLabels"].items() <= one.labels.items()
    names = [one.labels[NAME] for one in pods(overlay)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_that_the_gateway_calls_are_headless(overlay: str) -> None:
    headless = {name for name, doc in of_kind(overlay, "Service").items() if doc["spec"].get("clusterIP") == "None"}
    assert {"auth-svc", "score-svc", "leaderboard-svc", "stream-svc", "page"} <= headless


def _least(overlay: str) -> dict[str, int]:
    """How many pods there are at least, by the name on their label; operators' pods too."""
    least = {
        one.labels[NAME]: one.doc["spec"].get("replicas")
        for one in pods(overlay)
        if one.kind in ("Deployment", "StatefulSet")
    }
    for doc in of_kind(overlay, "HorizontalPodAutoscaler").values():
        least[doc["spec"]["scaleTargetRef"]["name"]] = doc["spec"]["minReplicas"]
    for doc in of_kind(overlay, "ScaledObject").values():
        least[doc["spec"]["scaleTargetRef"]["name"]] = doc["spec"]["minReplicaCount"]
    for doc in of_kind(overlay, "RabbitmqCluster").values():
        least[doc["metadata"]["name"]] = doc["spec"]["replicas"]
    return least


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_standing_pod_has_a_disruption_budget_below_its_number(overlay: str) -> None:
    least = {name: count for name, count in _least(overlay).items() if count != 0}
    budgets = {
        doc["spec"]["selector"]["matchLabels"][NAME]: doc["spec"]
        for doc in of_kind(overlay, "PodDisruptionBudget").values()
    }
    assert budgets.keys() == least.keys()
    for name, budget in budgets.items():
        # One at a time; a single one may go too, or its node could never be emptied.
        assert budget["maxUnavailable"] == 1
        assert least[name] >= 1


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_scalers_scale_what_is_there_and_none_the_same(overlay: str) -> None:
    targets = [
        doc["spec"]["scaleTargetRef"]["name"]
        for doc in docs(overlay)
        if doc["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    ]
    deployments = of_kind(overlay, "Deployment")
    assert len(targets) == len(set(targets))
    assert set(targets) <= deployments.keys()
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) != (name in targets)  # else each apply would undo the scaler


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_keda_asks_for_the_queue_that_is_there(overlay: str) -> None:
    (scaled,), authentications = of_kind(overlay, "ScaledObject").values(), of_kind(overlay, "TriggerAuthentication")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["queueName"] == queues.UPDATES
    authentication = authentications[trigger["authenticationRef"]["name"]]
    for ref in authentication["spec"]["secretTargetRef"]:
        assert ref["key"] in secret_keys(overlay)[ref["name"]]


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_the_store_is_asked_for_what_the_script_prints(overlay: str) -> None:
    store = deployment_secrets.make_store()
    store["scoreboard/backup"] = {"access-key-id": "", "secret-access-key": ""}
    asked = {
        (one["remoteRef"]["key"], one["remoteRef"]["property"])
        for spec in external_secrets(overlay).values()
        for one in spec["data"]
    }
    held = {(key, name) for key, values in store.items() for name in values}
    assert asked - held == set()
    assert held - asked == {("scoreboard/scoreboard", "rabbitmq")}  # the operator of RabbitMQ has an account of its own


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_the_secrets_of_production_have_the_keys_of_the_others(overlay: str) -> None:
    made = deployment_secrets.make()
    both = made.keys() & secret_keys(overlay).keys()
    assert {"auth-svc", "owner", "redis-users", "master-keys"} <= both
    for name in both - {"postgres"}:
        assert secret_keys(overlay)[name] == made[name].keys()


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_redis_has_the_accounts_of_the_local_mesh(overlay: str) -> None:
    passwords = {account: f"password of {account}" for account in accounts.ACCOUNTS}
    text = external_secrets(overlay)["redis-users"]["target"]["template"]["data"]["users.acl"]
    expected = accounts.redis_acl(passwords)
    for account, password in passwords.items():
        text = text.replace("{{ ." + account + " | sha256sum }}", hashlib.sha256(password.encode()).hexdigest())
    assert text.splitlines() == expected.splitlines()


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_rabbitmq_has_the_rights_and_the_policy_of_the_local_mesh(overlay: str) -> None:
    users = of_kind(overlay, "User")
    secrets = external_secrets(overlay)
    rights = {}
    for doc in of_kind(overlay, "Permission").values():
        user = users[doc["spec"]["userReference"]["name"]]
        name = secrets[user["spec"]["importCredentialsSecret"]["name"]]["target"]["template"]["data"]["username"]
        rights[name] = doc["spec"]["permissions"]
    assert rights.pop(deployment_secrets.SCALER) == dict.fromkeys(("configure", "write", "read"), "^$")
    assert rights == queues.PERMISSIONS
    (policy,) = of_kind(overlay, "Policy").values()
    shown = {name: policy["spec"][name] for name in ("name", "pattern", "priority", "definition")}
    assert shown | {"apply-to": policy["spec"]["applyTo"]} == queues.POLICY


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_postgres_has_every_role_with_its_password(overlay: str) -> None:
    (cluster,) = of_kind(overlay, "Cluster").values()
    secrets = external_secrets(overlay)
    roles = {role["name"]: role["passwordSecret"]["name"] for role in cluster["spec"]["managed"]["roles"]}
    initdb = cluster["spec"]["bootstrap"]["initdb"]
    roles[initdb["owner"]] = initdb["secret"]["name"]
    assert roles.keys() == set(accounts.ACCOUNTS)
    for role, secret in roles.items():
        assert secrets[secret]["target"]["template"]["type"] == "kubernetes.io/basic-auth"
        assert secrets[secret]["target"]["template"]["data"]["username"] == role
        (source,) = secrets[secret]["data"]
        assert source["remoteRef"] == {"key": f"scoreboard/{role}", "property": "postgres"}


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_certificates_are_for_the_names_that_clients_use(overlay: str) -> None:
    certificates = {
        name: doc["spec"]["dnsNames"]
        for name, doc in of_kind(overlay, "Certificate").items()
        if "dnsNames" in doc["spec"]
    }
    (settings,) = (doc["data"] for name, doc in of_kind(overlay, "ConfigMap").items() if name.startswith("settings"))
    assert [f"https://{name}" for name in certificates["edge"]] == [settings["SCOREBOARD_ISSUER"]]
    for host in _hosts_of_secrets(overlay):
        assert any(host in names for names in certificates.values()), host


def _hosts_of_secrets(overlay: str) -> set[str]:
    texts = [
        text for spec in external_secrets(overlay).values() for text in spec["target"]["template"]["data"].values()
    ]
    return {str(urlsplit(text).hostname) for text in texts if "://" in text}


@pytest.mark.parametrize("overlay", PRODUCTION)
def test_what_custom_objects_refer_to_is_there(overlay: str) -> None:
    there = {(doc["kind"], doc["metadata"]["name"]) for doc in docs(overlay)} | CLUSTERS_OWN
    named = [ref for doc in docs(overlay) for ref in _object_references(doc)]
    assert {kind for kind, _ in named} >= {
        "Issuer",
        "ClusterIssuer",
        "ClusterSecretStore",
        "RabbitmqCluster",
        "Cluster",
        "ObjectStore",
    }
    assert set(named) - there == set()


def _object_references(doc: Doc) -> Iterator[tuple[str, str]]:
    spec = doc.get("spec", {})
    match doc["kind"]:
        case "Certificate":
            yield spec["issuerRef"]["kind"], spec["issuerRef"]["name"]
        case "ExternalSecret":
            yield spec["secretStoreRef"]["kind"], spec["secretStoreRef"]["name"]
        case "Vhost" | "User" | "Permission" | "Policy":
            yield "RabbitmqCluster", spec["rabbitmqClusterReference"]["name"]
            if "vhost" in spec:
                yield "Vhost", spec["vhost"]
        case "ScheduledBackup":
            yield "Cluster", spec["cluster"]["name"]
        case "Cluster":
            for plugin in spec["plugins"]:
                yield "ObjectStore", plugin["parameters"]["barmanObjectName"]
