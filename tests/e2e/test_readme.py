"""The README's commands, run as they stand there in a copy of the tree; only the port is another."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scoreboard.local import state
from tests.e2e.pages import Block, assert_shows, read_blocks, shown_after
from tests.meshes import TREE, Mesh, new_mesh, nothing_left
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)  # a set-up and a start from nothing
COMMAND_TIMEOUT_S = 60.0
PORT = "8080"  # the README's


def blocks(port: int) -> list[Block]:
    """The README's blocks, with the gateway's port in place of the usual one."""
    text = (TREE / "README.md").read_text()
    return read_blocks(text.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{port}"))


@dataclass(frozen=True)
class Copy:
    """A copy of the tree, with a mesh that `make up` runs in it."""

    mesh: Mesh
    make: asyncio.subprocess.Process
    log: Path

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.mesh.data.parent

    async def run(self, *argv: str, stdin: str = "", **environment: str) -> str:
        """What a command prints; it succeeds."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.folder,
            env=clean_environment() | environment,
        )
        out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), COMMAND_TIMEOUT_S * SCALE)
        assert process.returncode == 0, out.decode()
        return out.decode()


def clean_environment() -> dict[str, str]:
    """A new user's: nothing of the `make test` that may run this, and no colours."""
    ours = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours} | {"NO_COLOR": "1", "COLUMNS": "100"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A copy of what git tracks, as it is now, with the tree's uv: that takes the longest to install."""
    with tempfile.TemporaryDirectory(prefix="scoreboard-readme-") as name:
        path = Path(name)
        path.chmod(0o711)  # Postgres' own account passes
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=TREE, check=True, capture_output=True, text=True).stdout
        for one in filter(None, tracked.split("\0")):
            if (TREE / one).exists():  # not for a file that is deleted and not yet committed
                (path / one).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TREE / one, path / one)
        if (TREE / ".venv-uv").exists():
            (path / ".venv-uv").symlink_to(TREE / ".venv-uv")
        yield path


@pytest.fixture(scope="module")
async def copy(folder: Path) -> AsyncIterator[Copy]:
    """`make up` in the copy, in a process group of its own, until it has printed the address."""
    mesh, log = new_mesh(folder / ".scoreboard"), folder / "make-up.log"
    with log.open("wb") as output:
        make = await asyncio.create_subprocess_exec(
            "make",
            "up",
            stdout=output,
            stderr=output,
            cwd=folder,
            env=clean_environment() | {"SCOREBOARD_PORT": str(mesh.port)},
            start_new_session=True,
        )
    try:
        await eventually(lambda: "Try: " in log.read_text() or make.returncode is not None, 240, "the mesh's address")
        assert make.returncode is None, log.read_text()
        yield Copy(mesh, make, log)
    finally:
        family = mesh.family() if state.read(mesh.data) else []
        ports = mesh.ports() if family else []
        if make.returncode is None:
            os.killpg(make.pid, signal.SIGINT)  # what Ctrl-C sends
        await asyncio.wait_for(make.wait(), 90 * SCALE)
        await nothing_left(family, ports)
        assert log.read_text().rstrip().endswith("Scoreboard is down.") or not family


async def test_make_up_prints_what_the_readme_shows(copy: Copy) -> None:
    found = blocks(copy.mesh.port)
    printed = copy.log.read_text()
    for line in shown_after(found, "make up").splitlines():
        assert_shows(printed, line, any_figures=True)  # services become ready in any order
    assert printed.rstrip().endswith(shown_after(found, "make up").rstrip().splitlines()[-1])


async def test_the_demo_and_its_proof_print_what_the_readme_shows(copy: Copy) -> None:
    found = blocks(copy.mesh.port)
    commands = next(block.text for block in found if "scoreboard demo" in block.text and not block.language)
    printed = await copy.run("bash", "-e", stdin=commands, SCOREBOARD_PLAYERS="6", SCOREBOARD_SECONDS="2")
    lines = shown_after(found, commands).splitlines()
    shown = "\n".join(line for line in lines if not line.startswith("not ok: "))  # there may be none
    assert_shows(printed, shown, any_figures=True)


async def test_a_score_is_sent_and_seen_with_curl(copy: Copy) -> None:
    found = blocks(copy.mesh.port)
    script = next(block.text for block in found if block.language == "sh")
    printed = await copy.run("bash", "-eu", "-o", "pipefail", stdin=script)
    assert_shows(printed, shown_after(found, script))
    first, again, _ = printed.splitlines()
    assert first == again

    text = (TREE / "README.md").read_text().replace(PORT, str(copy.mesh.port))
    (watch,) = re.findall(r"`(curl -N [^`]+)`", text)
    watching = await asyncio.create_subprocess_exec("bash", "-c", f"exec {watch} -s", stdout=asyncio.subprocess.PIPE)
    assert watching.stdout is not None
    seen = await asyncio.wait_for(watching.stdout.readline(), COMMAND_TIMEOUT_S * SCALE)
    watching.kill()
    await watching.wait()
    assert seen.startswith(b'data: {"leaderboard":[{"rank":1,')


async def test_a_score_is_sent_and_seen_with_the_python_client(copy: Copy) -> None:
    found = blocks(copy.mesh.port)
    program = next(block.text for block in found if block.language == "python")
    printed = await copy.run(".venv/bin/python", "-", stdin=program)
    shown = shown_after(found, program).splitlines()
    assert_shows(printed, shown[0])
    assert len(re.findall(r"^[123] \S+ \d+$", printed, re.MULTILINE)) >= 1


def test_make_alone_explains_every_target(folder: Path) -> None:
    printed = subprocess.run(
        ["make"], cwd=folder, check=True, capture_output=True, text=True, env=clean_environment()
    ).stdout
    makefile = (folder / "Makefile").read_text()
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE))
    explained = dict(re.findall(r"^(\S+)\s+(\S.*)$", printed, re.MULTILINE))
    assert set(explained) == set(phony.split()) == set(re.findall(r"^([a-z0-9-]+):(?!=)", makefile, re.MULTILINE))
    for block in blocks(0):
        for target in re.findall(r"^make (\S+)$", block.text, re.MULTILINE):
            assert target in explained


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (TREE / "README.md").read_text()):
        assert (TREE / target).exists(), target
