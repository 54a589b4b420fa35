"""k8s/: who may speak to whom: nobody, but along the edges of the design."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import yaml

from scoreboard.local import accounts
from scripts import cluster
from tests.k8s.rendered import NAME, OVERLAYS, PRODUCTION, Doc, docs, of_kind, pods, secret_values

ANY = "anyone"
Edge = tuple[str, str, int]


def _clients(server: str, port: int, names: set[str]) -> set[Edge]:
    return {(name, server, port) for name in names}


def _pods_of(accounts_of: tuple[str, ...]) -> set[str]:
    return {name.replace("_", "-") for name in accounts_of if name != accounts.OWNER}


TOOLS = {"verify", "operator"}  # which come as the owner
OPS = {name: 8131 + number for number, name in enumerate(("auth-svc", "score-svc", "leaderboard-svc", "stream-svc"))}
OPS |= {"admin-svc": 8135, "worker": 8136}  # of /metrics
#: The design's: the gateway to what players call, everyone to the servers that it has an account on, and to the keys.
DESIGN: set[Edge] = {
    (ANY, "envoy", 8080),
    ("envoy", "auth-svc", 8111),
    ("envoy", "auth-svc", 8121),
    ("envoy", "score-svc", 8112),
    ("envoy", "leaderboard-svc", 8113),
    ("envoy", "stream-svc", 8114),
    ("envoy", "stream-svc", 8124),
    ("envoy", "page", 8107),
    ("operator", "admin-svc", 8105),
    *(("namespace monitoring", name, port) for name, port in OPS.items()),
    *_clients("auth-svc", 8121, {"score-svc", "stream-svc", "admin-svc", "operator"}),
    *_clients("postgres", 5432, _pods_of(accounts.SERVICES) | TOOLS | {"migrate", "audit"}),
    *_clients("redis", 6379, _pods_of(accounts.SERVICES) | TOOLS),
}
BROKER_CLIENTS = _pods_of(accounts.BROKER_ACCOUNTS)
PRODUCTIONS: set[Edge] = (
    DESIGN
    | _clients("rabbitmq", 5671, BROKER_CLIENTS | {"namespace keda"})
    | {("namespace rabbitmq-system", "rabbitmq", 15672)}
    | {("rabbitmq", "rabbitmq", port) for port in (4369, 25672, *range(35672, 35683))}
    | {(name, "postgres", port) for name in ("postgres", "namespace cnpg-system") for port in (5432, 8000)}
)
EDGES: dict[str, set[Edge]] = {
    overlay: PRODUCTIONS if overlay in PRODUCTION else DESIGN | _clients("rabbitmq", 5672, BROKER_CLIENTS)
    for overlay in OVERLAYS
}
#: Who may call where no policy can name: the cluster's own API, and the backups' store.
OUTSIDE: dict[str, set[tuple[str, int]]] = {
    overlay: {(name, port) for name in ("postgres", "rabbitmq") for port in (443, 6443)}
    if overlay in PRODUCTION
    else set()
    for overlay in OVERLAYS
}
OUTSIDE["region"] |= {("leaderboard-svc", 443)}  # the other regions' gateways


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_allowed_but_what_a_policy_allows(overlay: str) -> None:
    deny = of_kind(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_may_look_names_up_and_nothing_more(overlay: str) -> None:
    dns = of_kind(overlay, "NetworkPolicy")["dns"]["spec"]
    assert dns["podSelector"] == {}
    assert dns["policyTypes"] == ["Egress"]
    (rule,) = dns["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}
    (peer,) = rule["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ingress_is_exactly_the_designs(overlay: str) -> None:
    assert set(_ingress(overlay)) == EDGES[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_egress_is_exactly_the_designs(overlay: str) -> None:
    to_pods = {(source, target) for source, target, _ in EDGES[overlay] if source in _ours(overlay)}
    assert {(source, target) for source, target, _ in _egress(overlay) if target != ANY} == to_pods
    assert {(source, port) for source, target, port in _egress(overlay) if target == ANY} == OUTSIDE[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ports_are_ones_that_the_pods_listen_on(overlay: str) -> None:
    listening = {one.labels[NAME]: set(one.ports.values()) for one in pods(overlay)}
    for _, target, port in EDGES[overlay]:
        assert target not in listening or port in listening[target]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_way_that_the_gateway_or_a_setting_names_is_open(overlay: str) -> None:
    named = set(_named_by_gateway(overlay)) | set(_named_by_settings(overlay))
    assert len(named) > 25
    assert named - EDGES[overlay] == set()


def _ours(overlay: str) -> set[str]:
    """The pods of the namespace: those of our workloads, and those that operators give our label."""
    return {one.labels[NAME] for one in pods(overlay)} | {"postgres", "rabbitmq"}


def _policies(overlay: str) -> Iterator[tuple[str, Doc]]:
    for doc in of_kind(overlay, "NetworkPolicy").values():
        labels = doc["spec"]["podSelector"].get("matchLabels")
        if labels:
            assert doc["spec"]["policyTypes"] == ["Ingress", "Egress"]
            assert list(labels) == [NAME]
            assert labels[NAME] in _ours(overlay)
            yield labels[NAME], doc["spec"]


def _ingress(overlay: str) -> Iterator[Edge]:
    for target, spec in _policies(overlay):
        for rule in spec.get("ingress", []):
            for port in _ports(rule):
                for source in _peers(overlay, rule.get("from")):
                    yield source, target, port


def _egress(overlay: str) -> Iterator[Edge]:
    """Which port it may be says the target's own policy; 0 stands for any."""
    for source, spec in _policies(overlay):
        for rule in spec.get("egress", []):
            for target in _peers(overlay, rule.get("to")):
                for port in _ports(rule) or [0]:
                    yield source, target, port


def _ports(rule: Doc) -> list[int]:
    ports = rule.get("ports", [])
    assert all(port["protocol"] == "TCP" for port in ports)
    return [number for port in ports for number in range(port["port"], port.get("endPort", port["port"]) + 1)]


def _peers(overlay: str, peers: list[Doc] | None) -> list[str]:
    return [ANY] if peers is None else [_peer(overlay, peer) for peer in peers]


def _peer(overlay: str, peer: Doc) -> str:
    match peer:
        case {"podSelector": {"matchLabels": labels}, **rest} if not rest:
            assert labels[NAME] in _ours(overlay)
            return str(labels[NAME])
        case {"namespaceSelector": {"matchLabels": labels}, **rest} if not rest:
            return f"namespace {labels['kubernetes.io/metadata.name']}"
    raise AssertionError(f"a peer of another kind: {peer}")


def _named_by_gateway(overlay: str) -> Iterator[Edge]:
    config = yaml.load((cluster.K8S / "overlays" / overlay / "envoy.yaml").read_text(), yaml.CSafeLoader)
    for one in config["static_resources"]["clusters"]:
        for place in one.get("load_assignment", {}).get("endpoints", []):
            for endpoint in place["lb_endpoints"]:
                address = endpoint["endpoint"]["address"]["socket_address"]
                yield "envoy", address["address"], address["port_value"]


def _named_by_settings(overlay: str) -> Iterator[Edge]:
    secrets = secret_values(overlay)
    for one in pods(overlay):
        sources = [ref["secretRef"]["name"] for ref in one.container.get("envFrom", [])]
        texts = [given["value"] for given in one.variables.values() if "value" in given]
        texts += [text for source in sources for text in secrets[source].values()]
        for text in texts:
            if "://" in text:
                url = urlsplit(text)
                assert url.port is not None
                # CloudNativePG's Service of the primary, which is a pod of the cluster's.
                yield one.labels[NAME], str(url.hostname).removesuffix("-rw"), url.port


def test_a_policy_is_for_each_pod() -> None:
    for overlay in OVERLAYS:
        assert {name for name, _ in _policies(overlay)} == _ours(overlay)
        assert len([doc for doc in docs(overlay) if doc["kind"] == "NetworkPolicy"]) == len(_ours(overlay)) + 2
