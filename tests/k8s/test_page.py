"""docs/kubernetes.md: what its commands name is there."""

from __future__ import annotations

import re

import pytest

from scripts.cluster import TREE
from tests.k8s.rendered import OVERLAYS, docs, of_kind

PAGE = (TREE / "docs" / "kubernetes.md").read_text()
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
KINDS = {"job": "Job", "deployment": "Deployment", "service": "Service", "cronjob": "CronJob", "cluster": "Cluster"}
MADE_THERE = {("job", "verify-now"), ("job", "audit-now")}


def test_every_folder_that_is_named_is_there() -> None:
    named = set(re.findall(r"\bk8s/[\w./-]*\w", PAGE))
    assert {f"k8s/overlays/{overlay}" for overlay in OVERLAYS} <= named
    assert [path for path in named if not (TREE / path).exists()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_that_a_command_names_is_rendered(kind: str) -> None:
    named = set(re.findall(rf"(?<![\w/]){kind}/([\w-]+)", COMMANDS))
    assert named
    there = {name for overlay in OVERLAYS for name in of_kind(overlay, KINDS[kind])}
    assert {name for name in named if (kind, name) not in MADE_THERE} <= there


def test_every_command_says_in_which_namespace() -> None:
    # What is applied says it itself.
    needing = [line for line in COMMANDS.splitlines() if "kubectl " in line and " apply " not in line]
    assert needing
    assert [line for line in needing if "--namespace scoreboard" not in line] == []


def test_the_table_of_scalers_is_what_is_rendered() -> None:
    said = {
        name.strip().replace("_", "-"): (int(least), int(most))
        for names, least, most in re.findall(
            r"^\| ([\w, ]+?) \| [^|]*(?:CPU|messages)[^|]* \| (\d+), (\d+) \|$", PAGE, re.MULTILINE
        )
        for name in names.replace("gateway", "envoy").split(",")
    }
    rendered = {}
    for doc in docs("prod"):
        spec = doc.get("spec", {})
        if doc["kind"] == "HorizontalPodAutoscaler":
            rendered[doc["metadata"]["name"]] = (spec["minReplicas"], spec["maxReplicas"])
        elif doc["kind"] == "ScaledObject":
            rendered[doc["metadata"]["name"]] = (spec["minReplicaCount"], spec["maxReplicaCount"])
    assert said == rendered
