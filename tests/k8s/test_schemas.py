"""k8s/: every object is what its schema says, on the oldest and the newest Kubernetes that docs/kubernetes.md names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.k8s.release import VERSION
from tests.k8s.rendered import OVERLAYS, docs

VERSIONS = ("1.31", "1.37")
#: Kinds without a validator anywhere: fields from their projects' documentation, so that a misspelt one is found.
OWN_SCHEMAS: dict[str, Any] = json.loads(Path(__file__).with_name("own_schemas.json").read_text())
#: Kinds that `make test-k8s` checks by their projects' own types.
ELSEWHERE = {
    "Cluster",
    "ScheduledBackup",
    "ScaledObject",
    "TriggerAuthentication",
    "ExternalSecret",
    "Certificate",
    "Issuer",
    "PodMonitor",
    "PrometheusRule",
}
# k8s.io/apimachinery's resource.Quantity.
QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|P|E|[KMGTPE]i|[eE]\d+)?")


def test_the_versions_are_those_that_the_page_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
    assert f"Kubernetes {VERSIONS[0]} to {VERSIONS[1]}" in page


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """Has kubernetes_validate keep the schemas: it reads 2 MB anew for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_of_kubernetes_are_strictly_valid(overlay: str, version: str) -> None:
    custom = set()
    for doc in docs(overlay):
        try:
            kubernetes_validate.validate(doc, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:  # never pass by a kind that nobody checks
            custom.add(doc["kind"])
    assert custom <= ELSEWHERE | OWN_SCHEMAS.keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_without_a_published_schema_have_documented_fields_alone(overlay: str) -> None:
    for doc in docs(overlay):
        if schema := OWN_SCHEMAS.get(doc["kind"]):
            jsonschema.validate(doc["spec"], schema)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_quantities_can_be_read(overlay: str) -> None:
    found = [quantity for doc in docs(overlay) for quantity in _quantities(doc)]
    assert len(found) > 20
    assert [text for text in found if not QUANTITY.fullmatch(str(text))] == []


def _quantities(value: Any) -> Iterator[Any]:
    """Yields what stands below `requests` and `limits`, whatever holds them, and the sizes of disks and memory."""
    if isinstance(value, list):
        for one in value:
            yield from _quantities(one)
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("requests", "limits"):
                yield from inner.values()
            elif key in ("size", "sizeLimit", "storage") and isinstance(inner, str):
                yield inner
            else:
                yield from _quantities(inner)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_are_of_the_namespace_and_of_this_release(overlay: str) -> None:
    for doc in docs(overlay):
        if doc["kind"] != "Namespace":
            assert doc["metadata"]["namespace"] == "scoreboard"
        assert doc["metadata"]["labels"]["app.kubernetes.io/version"] == VERSION


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_takes_restricted_pods_alone(overlay: str) -> None:
    (namespace,) = (doc for doc in docs(overlay) if doc["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
