"""What `make profile` says of a service is what py-spy saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench import profile

BUSY = """
import json, time

def spin():
    for _ in range(20_000):
        pass

def write():
    json.dumps(list(range(2_000)), indent=1)

until = time.monotonic() + 5  # py-spy may take some of them to begin
while time.monotonic() < until:
    spin()
    write()
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flame graph of a program in one of our packages, which spins in its own code and writes JSON in Python's."""
    try:
        profile.check_allowed()
    except profile.NotAllowed as e:
        pytest.skip(f"this machine lets nobody look into processes: {e}")
    folder = tmp_path_factory.mktemp("profile")
    package = folder / "worker"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(BUSY)
    with subprocess.Popen([sys.executable, "-m", "worker"], cwd=folder) as process:
        graph, recorder = profile.begin("worker-1", process.pid, folder)
        assert recorder.wait(30) == 0
    return graph


def test_the_widest_frames_are_those_that_ran_with_who_called_them(graph: Path) -> None:
    samples, frames = profile.widest(graph)
    assert samples > profile.SAMPLES_MIN
    assert sum(frame.share for frame in frames) == pytest.approx(1)
    shares = {frame.name.partition(" (")[0]: frame.share for frame in frames}
    own = {frame.name.partition(" (")[0]: frame.own.partition(" (")[0] for frame in frames}
    assert shares["spin"] > 0.05
    assert own["spin"] == "spin"
    inside = next(name for name in own if name.endswith("_iterencode_list"))
    assert own[inside] == "write"


def test_stacks_hold_every_sample_once(graph: Path) -> None:
    title = graph.read_text().partition("<title>all (")[2].partition(" samples")[0]
    assert sum(samples for _, samples in profile.stacks(graph)) == int(title.replace(",", ""))
    assert all(stack[0] == "all" for stack, _ in profile.stacks(graph))


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("place (board/read_redis.py:40)", True),
        ("run (worker/__main__.py:9)", True),
        ("execute (redis/asyncio/client.py:1)", False),
        ("run (asyncio/mesh.py:1)", False),
        ("all", False),
    ],
)
def test_our_code_is_known_by_its_package(name: str, is_own: bool) -> None:
    assert profile.is_own(name) is is_own


def test_who_may_not_look_is_told_why_and_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise profile.NotAllowed("Error: Permission Denied")

    monkeypatch.setattr(profile, "check_allowed", refuse)
    app = typer.Typer()
    app.command()(profile.main)
    done = CliRunner().invoke(app, ["unary"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 1
    assert "Permission Denied" in done.output
    assert "SYS_PTRACE" in done.output
