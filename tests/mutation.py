"""Breaks the guards of tests/mutation.toml on purpose, one at a time, and shows that some test fails for each.

`python -m tests.mutation` works on a copy of the checkout, so that nothing of it changes. A guard is caught when its
tests, which pass on the whole code, fail on the broken one: not when they cannot be collected, do not end, or find no
service because the broken one does not start.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scoreboard.local.trouble import Trouble

TREE = Path(__file__).resolve().parent.parent
GUARDS = TREE / "tests" / "mutation.toml"
RESULTS = TREE / ".soak" / "mutation.json"
SECONDS_MAX = 400  # of one guard's tests
PYTEST_FAILED = 1  # of a fixture's error too: https://docs.pytest.org/en/stable/reference/exit-codes.html
FAILED = re.compile(r"^\d+ failed\b.* in [\d.]+s", re.MULTILINE)  # the summary; it counts errors of fixtures apart
NO_START = f"{Trouble.__module__}.{Trouble.__qualname__}: "  # how a traceback ends when a server did not start


@dataclass(frozen=True)
class Guard:
    """A line that keeps a promise, what breaks it, and the tests that must notice, by pytest's node ids."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]

    def is_there(self) -> bool:
        """Tell whether the guard stands in its file, once."""
        return (TREE / self.file).read_text().count(self.old) == 1


def read_guards() -> list[Guard]:
    """Return the guards of tests/mutation.toml."""
    with GUARDS.open("rb") as file:
        return [Guard(name=name, **fields) for name, fields in tomllib.load(file).items()]


def main(
    only: Annotated[list[str] | None, typer.Argument(help="Names of guards; all when none is given.")] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the guards, and check that each is there.")] = False,
    whole_first: Annotated[bool, typer.Option(help="First run all their tests on the whole code.")] = True,
    jobs: Annotated[int, typer.Option(min=1, help="So many guards at a time; much of a test is waiting.")] = 2,
) -> None:
    """Break guards one at a time; exit 1 unless a test fails for each."""
    console = Console()
    guards = [guard for guard in read_guards() if not only or guard.name in only]
    lost = [guard for guard in guards if not guard.is_there()]
    if list_them or lost:
        for guard in guards:
            where = "NOT FOUND ONCE in " if guard in lost else ""
            console.print(f"{guard.name:40} {where}{guard.file}")
        raise typer.Exit(1 if lost else 0)
    with tempfile.TemporaryDirectory(prefix="scoreboard-mutation-") as folder:
        copies = [Path(folder) / str(number) / "tree" for number in range(jobs)]
        for copy in copies:
            _copy_tree(copy)
        if whole_first and not _passes_whole(copies[0], guards, console):
            raise typer.Exit(1)
        verdicts = _verdicts(copies, guards, console)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(verdicts, indent=2) + "\n")
    caught = sum(verdict == "caught" for verdict in verdicts.values())
    console.print(f"{caught} of {len(guards)} guards caught; {RESULTS.relative_to(TREE)}")
    raise typer.Exit(0 if caught == len(guards) else 1)


def _copy_tree(copy: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TREE, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (TREE / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, copy / name)


def _passes_whole(copy: Path, guards: list[Guard], console: Console) -> bool:
    tests = sorted({test for guard in guards for test in guard.tests})
    with console.status(f"Running {len(tests)} tests on the whole code"):
        code, output = _pytest(copy, tests, SECONDS_MAX * 5)
    if code != 0:
        console.print(output[-3000:], markup=False)
        console.print("The tests must pass on the whole code first.")
    return code == 0


def _verdicts(copies: list[Path], guards: list[Guard], console: Console) -> dict[str, str]:
    """Judge each guard by its name, as many at a time as there are copies to break them in."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def judged(guard: Guard) -> str:
        copy = free.get()
        try:
            return _verdict(copy, guard, console)
        finally:
            free.put(copy)

    with console.status("Breaking guards"), ThreadPoolExecutor(len(copies)) as threads:
        return dict(zip((guard.name for guard in guards), threads.map(judged, guards), strict=True))


def _verdict(copy: Path, guard: Guard, console: Console) -> str:
    file, began = copy / guard.file, time.monotonic()
    whole = file.read_text()
    file.write_text(whole.replace(guard.old, guard.new))
    try:
        code, output = _pytest(copy, guard.tests, SECONDS_MAX)
    finally:
        file.write_text(whole)
    verdict = judge(code, output)
    console.print(f"{verdict:9} {guard.name:40} {time.monotonic() - began:5.0f} s")
    if verdict == "unclear":
        console.print(output[-2000:], markup=False)
    return verdict


def judge(code: int, output: str) -> str:
    """Return what a broken guard's tests say by pytest's exit code and output: caught, survived or unclear."""
    if code == PYTEST_FAILED and FAILED.search(output) and NO_START not in output:
        return "caught"
    return "survived" if code == 0 else "unclear"


def _pytest(copy: Path, tests: list[str], seconds_max: float) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DEBUG_TEMPROOT": str(copy.parent)}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=seconds_max, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {seconds_max:g} s"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    typer.run(main)
