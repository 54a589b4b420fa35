"""Dockerfile and compose.yaml, as far as they can be checked without a Docker daemon (`make test-image` builds it)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import deployment_secrets
from scripts.cluster import TREE
from tests.k8s.release import VERSION
from tests.k8s.rendered import NAME, Pod, of_kind, pods
from tests.unit.test_wiring import SETTINGS

COMPOSE = yaml.safe_load((TREE / "compose.yaml").read_text())


def test_the_dockerfile_has_no_known_fault() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", TREE / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_says_which_release_it_is() -> None:
    text = (TREE / "Dockerfile").read_text()
    assert re.findall(r'image\.version="(.*?)"', text) == [VERSION]


def test_the_image_gets_every_package_that_a_service_imports() -> None:
    taken = {
        line.removeprefix("!") for line in (TREE / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert {
        *SETTINGS,
        "board",
        "mesh",
        "scoreboard",
        "migrations",
        "scoreboard.toml",
        "web/dist",
        "web/reference",
    } <= taken
    assert [name for name in taken if not (TREE / name).exists()] == []


#: What compose.yaml says otherwise than k8s/overlays/dev, and why stands there.
COMPOSE_ALONE = {"SCOREBOARD_STREAM_PER_ADDRESS_MAX"}


@pytest.mark.parametrize(
    "one", [one for one in pods("dev") if one.kind != "CronJob" and one.name != "operator"], ids=lambda one: one.name
)
def test_compose_runs_what_the_overlay_dev_runs(one: Pod) -> None:
    name = one.labels[NAME]
    ours = COMPOSE["services"][name]
    container = one.container
    assert ours["image"] == container["image"]
    assert ours.get("read_only") is True
    assert ours["cap_drop"] == ["ALL"]
    argv = [*container.get("command", []), *container.get("args", [])]
    # What Kubernetes alone has a use for: the gateway's drain before it stops, and what its TLS needs.
    said = ours.get("command", [])
    assert said == argv or (name == "envoy" and set(said) < set(argv))
    settings = {key: value for key, value in _resolved(one).items() if value is not None}
    given = {key: str(value) for key, value in ours.get("environment", {}).items() if key not in COMPOSE_ALONE}
    assert given == settings


def _resolved(one: Pod) -> dict[str, str | None]:
    """The variables of a pod; None for a secret, which compose.yaml takes from a file."""
    maps = of_kind("dev", "ConfigMap")
    values: dict[str, str | None] = {}
    for name, given in one.variables.items():
        ref = given.get("valueFrom", {}).get("configMapKeyRef")
        values[name] = maps[ref["name"]]["data"][ref["key"]] if ref else given.get("value")
    return values


def test_compose_starts_everything_that_the_overlay_dev_has() -> None:
    there = {one.labels[NAME] for one in pods("dev") if one.kind != "CronJob" and one.name != "operator"}
    assert COMPOSE["services"].keys() == there | {"secrets"}


def test_compose_takes_the_files_that_are_there() -> None:
    made = deployment_secrets.make()
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./.compose/"):
                name, _, key = source.removeprefix("./.compose/").partition("/")
                assert key in {"", *made[name]}
            elif source.startswith("./") and source != "./.compose":
                assert (TREE / source).is_file()
        for file in service.get("env_file", []):
            name = file["path"].removeprefix(".compose/").removesuffix(".env")
            assert any(key.isupper() for key in made[name])


def test_the_secrets_of_a_folder_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    deployment_secrets.write(deployment_secrets.make(), folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    before = (folder / "owner.env").read_text()
    with pytest.raises(FileExistsError):
        deployment_secrets.write(deployment_secrets.make(), folder)
    assert (folder / "owner.env").read_text() == before
    assert before.startswith("SCOREBOARD_POSTGRES_URL=postgresql://scoreboard:")
