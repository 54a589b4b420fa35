"""k8s/base/logging: the shipper's objects are what their schemas say, and it adds no field that the index refuses."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from mesh import logs
from scripts.cluster import K8S
from tests.k8s.rendered import docs
from tests.k8s.test_schemas import VERSIONS

FOLDER = "../base/logging"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_of_the_shipper_is_what_its_schema_says(version: str) -> None:
    made = docs(FOLDER)
    assert {doc["kind"] for doc in made} == {"Namespace", "ServiceAccount", "DaemonSet", "ConfigMap"}
    for doc in made:
        kubernetes_validate.validate(doc, version, strict=True)


def test_the_shipper_adds_fields_of_the_template_alone() -> None:
    text = (K8S / Path("base/logging/fluent-bit-pipeline.yaml")).read_text()
    pipeline = yaml.safe_load(text)["pipeline"]
    code = next(one["code"] for one in pipeline["inputs"][0]["processors"]["logs"] if one["name"] == "lua")
    added = {*re.findall(r"\b(\w+) = ", code.replace("local text = ", "")), "node"} - {"out", "container_name"}
    assert {"pod", "namespace", "container", "node", "message"} <= added
    assert added - {"log"} <= logs.fields().keys()  # `log` is what the parser takes apart
