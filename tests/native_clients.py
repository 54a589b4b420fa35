"""The clients of clients/ in Go, Java and Rust, built and run at a whole mesh: `make test-clients`.

No part of `make test`, which needs none of their toolchains: pytest takes this file where it is named. A language whose
toolchain is missing or too old is skipped, as the end of the output says; in CI it fails, as does a run of none at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scoreboard.client import Client, ScoreboardError
from scoreboard.local.services import worker_names
from tests.e2e.pages import read_blocks
from tests.gate import Direction, gate_to
from tests.meshes import TREE, Mesh, new_mesh, scoreboard
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(1800)  # a first build compiles all that a program stands on

PASSWORD = "correct horse battery staple"
BUILD_TIMEOUT_S = 1200.0
PLAY_TIMEOUT_S = 90.0
GUIDE = read_blocks((TREE / "docs" / "clients.md").read_text())
SHOWN = [json.loads(line) for block in GUIDE if block.language == "json" for line in block.text.splitlines()]
STEPS = [line["step"] for line in SHOWN]

Line = dict[str, Any]


@dataclass(frozen=True)
class Language:
    """A folder of clients/: what its tools are, how they build it, and what its tests print when they have run."""

    name: str
    programs: tuple[str, ...]
    version: str
    oldest: tuple[int, ...]
    test: str
    tested: str
    build: tuple[str, ...]
    play: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return TREE / "clients" / self.name

    def missing(self) -> str | None:
        """Returns why it cannot be built here; None where it can."""
        if absent := [program for program in self.programs if shutil.which(program) is None]:
            return f"{self.name}: {' and '.join(absent)} not found"
        said = subprocess.run(self.version.split(), capture_output=True, text=True, check=False, cwd=self.folder).stdout
        found = re.search(r"\d+(\.\d+)*", said)
        if found is None or tuple(map(int, found[0].split("."))) < self.oldest:
            wanted = ".".join(map(str, self.oldest))
            return f"{self.name}: {self.version!r} says {said.strip()!r}, and {wanted} or later is needed"
        return None


LANGUAGES = (
    Language(
        name="go",
        programs=("go",),
        version="go version",
        oldest=(1, 26),
        test="go test -count=1 ./...",
        tested=r"^ok\s+scoreboard\.example/play\s",
        build=("./generate.sh", "go build -o target/play ."),
        play="target/play",
    ),
    Language(
        name="java",
        programs=("java", "javac", "mvn"),
        version="javac -version",
        oldest=(17,),
        test="mvn --batch-mode --no-transfer-progress test",
        tested=r"Tests run: [1-9]\d*, Failures: 0, Errors: 0, Skipped: 0$",
        build=("mvn --batch-mode --no-transfer-progress package -DskipTests",),
        play="java -jar target/play.jar",
    ),
    Language(
        name="rust",
        programs=("cargo",),
        version="cargo --version",
        oldest=(1, 89),
        test="cargo test --locked",
        tested=r"^test result: ok\. [1-9]\d* passed; 0 failed",
        build=("cargo build --locked",),
        play="target/debug/play",
    ),
)


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
async def language(request: pytest.FixtureRequest) -> Language:
    """One whose program is built."""
    one: Language = request.param
    if (why := one.missing()) is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    for command in one.build:
        await run(one, command)
    return one


async def run(language: Language, command: str) -> str:
    """Returns what a command prints that has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command.split(), cwd=language.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), BUILD_TIMEOUT_S * SCALE)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, f"{command}:\n{out.decode()}"
    return out.decode()


@pytest.fixture(scope="session")
async def mesh(servers_folder: Path) -> AsyncIterator[Mesh]:
    """A whole mesh; each test brings a player of its own."""
    own = new_mesh(servers_folder / "mesh")
    await own.up("--logins-per-minute", "1000")
    try:
        yield own
    finally:
        await own.kill()


@pytest.fixture
def name() -> str:
    """A player's who is not there yet."""
    return f"native-{secrets.token_hex(6)}"


async def playing(
    language: Language, port: int, name: str, action: str = "win-round", refused: str = ""
) -> AsyncGenerator[Line, None]:
    """Yields each line of a play as it comes; it has to end well, or with the reason that it is refused for."""
    process = await asyncio.create_subprocess_exec(
        *(*language.play.split(), f"127.0.0.1:{port}", name, action),
        cwd=language.folder,
        env={**os.environ, "SCOREBOARD_PASSWORD": PASSWORD},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PLAY_TIMEOUT_S * SCALE):
            async for line in process.stdout:
                yield json.loads(line)
            error = (await process.stderr.read()).decode()
            assert await process.wait() == (1 if refused else 0), error
        assert not refused or f"{refused}: " in error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def play(language: Language, mesh: Mesh, name: str) -> dict[str, Line]:
    """Returns each step's line of an undisturbed play, in their order."""
    return {line["step"]: line async for line in playing(language, mesh.port, name)}


async def assert_has(mesh: Mesh, user_id: str, name: str, points: int) -> None:
    """Fails unless the board shows the player with these points, and the ledger has just as many."""
    async with Client(mesh.url) as anyone:
        place = await anyone.rank(user_id)
    assert (place.username, place.score) == (name, points)
    verified = await scoreboard("verify", "--json", "--data", str(mesh.data))
    assert verified.code == 0, verified.out + verified.err


@contextmanager
def no_work(mesh: Mesh) -> Iterator[None]:
    """The workers stand still: what is accepted meanwhile is PENDING."""
    workers = [pid for name in worker_names() if (pid := mesh.pid(name)) is not None]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


async def read_to_repeat(coming: AsyncGenerator[Line, None], *, pending: bool) -> list[Line]:
    """Returns the lines up to a try that is made again, because the update pends or because an answer is lost."""
    lines: list[Line] = []
    async for line in coming:
        lines.append(line)
        if line["step"] == "repeat" and (line["message"] == "PENDING") is pending:
            return lines
    raise AssertionError(lines)


async def assert_counted_once(mesh: Mesh, name: str, lines: list[Line]) -> None:
    """Fails unless the play went on to its end as one does without repeats."""
    said = {line["step"]: line for line in lines if line["step"] != "repeat"}
    assert list(said) == STEPS
    assert said["score"]["new_score"] == said["again"]["new_score"] == 50
    await assert_has(mesh, said["register"]["user_id"], name, 50)


def test_some_client_can_be_built_here() -> None:
    whys = [language.missing() for language in LANGUAGES]
    assert None in whys, whys


async def test_it_signs_and_makes_nonces_as_published(language: Language) -> None:
    out = await run(language, language.test)
    assert re.search(language.tested, out, re.MULTILINE), out


async def test_a_player_registers_scores_watches_and_comes_back(language: Language, mesh: Mesh, name: str) -> None:
    first = await play(language, mesh, name)
    assert [line.keys() for line in first.values()] == [line.keys() for line in SHOWN]
    user_id = first["register"]["user_id"]
    assert first["boards"]["names"] == ["all", "daily", "weekly"]
    assert (first["score"]["status"], first["score"]["new_score"]) == ("APPLIED", 50)
    assert first["again"] == first["score"] | {"step": "again"}
    assert first["refresh"]["expires_in"] > 0
    assert first["watch"]["score"] == 50
    assert first["watch"]["rank"] >= 1
    assert first["logout"]["success"] is True
    await assert_has(mesh, user_id, name, 50)

    second = await play(language, mesh, name)
    assert list(second) == ["login", *STEPS[1:]]
    assert second["login"]["user_id"] == user_id
    assert second["watch"]["score"] == second["score"]["new_score"] == 100
    assert second["nonce"]["nonce"] != first["nonce"]["nonce"]
    await assert_has(mesh, user_id, name, 100)


async def test_a_refusal_is_an_answer(language: Language, mesh: Mesh, name: str) -> None:
    lines = [line async for line in playing(language, mesh.port, name, action="fly", refused="UNKNOWN_ACTION")]
    assert [line["step"] for line in lines] == ["register", "boards", "nonce"]


async def test_a_service_that_dies_before_it_answers(language: Language, mesh: Mesh, name: str) -> None:
    score_svc = mesh.pid("score_svc")
    assert score_svc is not None
    async with aclosing(playing(language, mesh.port, name)) as coming:
        with no_work(mesh):
            lines = await read_to_repeat(coming, pending=True)
            os.kill(score_svc, signal.SIGKILL)
            lines += await read_to_repeat(coming, pending=False)
        lines += [line async for line in coming]
    await assert_counted_once(mesh, name, lines)


async def test_an_answer_that_the_network_lost(language: Language, mesh: Mesh, name: str) -> None:
    async with (
        gate_to(mesh.port) as gate,
        aclosing(playing(language, gate.port, name)) as coming,
        Client(mesh.url) as anyone,
    ):
        with no_work(mesh):
            lines = await read_to_repeat(coming, pending=True)
            gate.freeze(Direction.BACK)
        user_id = lines[0]["user_id"]

        async def counts() -> bool:
            try:
                return (await anyone.rank(user_id)).score == 50
            except ScoreboardError:
                return False

        await eventually(counts, 30, "the points")
        lines += await read_to_repeat(coming, pending=False)  # it has waited in vain
        gate.cut()
        await gate.heal()
        lines += [line async for line in coming]
    await assert_counted_once(mesh, name, lines)
