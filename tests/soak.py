"""Runs the promises' tests at their full sizes, row by row: `python -m tests.soak`, or `make soak`.

Each row of PROMISES.md is a pytest process of its own, with one seed for the whole run. What has passed is kept in
`.soak/`, so that a run that was stopped goes on where it was; a change of any file that git sees begins it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

TREE = Path(__file__).resolve().parent.parent
FOLDER = TREE / ".soak"
ROWS = range(1, 40)
NOTES: dict[int, str] = {}  # of rows that show less than PROMISES.md says
TEST_TIMEOUT_S = 1_800
STOP_GRACE_S = 60.0  # for a row's servers to end after Ctrl-C
NO_TESTS = 5  # https://docs.pytest.org/en/stable/reference/exit-codes.html
COUNTS = ("faults", "updates", "lost", "doubled")
SHOWN_LINES = 40  # of a failed row's output


@dataclass
class Row:
    """How a row of PROMISES.md ended. outcome: passed, failed, no test, or stopped. note: what it leaves out."""

    outcome: str
    seconds: float
    tests: int = 0
    faults: int = 0
    updates: int = 0
    lost: int = 0
    doubled: int = 0
    note: str = ""

    @property
    def told(self) -> str:
        """The outcome, with its note."""
        return f"{self.outcome} ({self.note})" if self.note else self.outcome

    @property
    def is_passed(self) -> bool:
        """Whether all its tests ran and passed."""
        return self.outcome == "passed"


@dataclass
class Run:
    """A run of all wanted rows with one seed. code: what it tests, as `read_code` names it."""

    seed: int
    code: str
    rows: dict[int, Row] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return FOLDER / f"{self.seed}.json"

    def save(self) -> None:
        """Keep it, whole or not at all."""
        totals = {name: sum(getattr(row, name) for row in self.rows.values()) for name in COUNTS}
        seconds = round(sum(row.seconds for row in self.rows.values()), 1)
        rows = {str(number): asdict(self.rows[number]) for number in sorted(self.rows)}
        making = self.file.with_suffix(".tmp")
        making.write_text(
            json.dumps({"seed": self.seed, "code": self.code, "seconds": seconds, **totals, "rows": rows}, indent=2)
        )
        making.rename(self.file)


def load(seed: int) -> Run | None:
    """Return the run of this seed as it was kept; None without one."""
    file = FOLDER / f"{seed}.json"
    if not file.exists():
        return None
    kept = json.loads(file.read_text())
    return Run(seed, kept["code"], {int(number): Row(**row) for number, row in kept["rows"].items()})


def resumable(code: str, wanted: list[int]) -> int | None:
    """Return the seed of the last run, if it is of this code and some wanted row did not end; else None."""
    files = sorted(FOLDER.glob("[0-9]*.json"), key=lambda file: file.stat().st_mtime)
    last = load(int(files[-1].stem)) if files else None
    if last is None or last.code != code:
        return None
    has_ended = all(number in last.rows and last.rows[number].outcome != "stopped" for number in wanted)
    return None if has_ended else last.seed


def parse_rows(text: str) -> list[int]:
    """Return the rows of a text such as `1,3,9-12`. Raises typer.BadParameter."""
    wanted: list[int] = []
    for part in text.split(","):
        ends = part.split("-")
        if not (len(ends) <= 2 and all(end.isdecimal() for end in ends) and int(ends[0]) <= int(ends[-1])):
            raise typer.BadParameter(f"{part!r} is no row: write as 1,3,9-12", param_hint="--rows")
        wanted += range(int(ends[0]), int(ends[-1]) + 1)
    if unknown := [row for row in wanted if row not in ROWS]:
        raise typer.BadParameter(f"there is no row {unknown[0]}: they are 1 to {ROWS[-1]}", param_hint="--rows")
    return wanted


def main(
    seed: Annotated[int | None, typer.Option(help="Of all random choices; by default a new one.")] = None,
    rows: Annotated[str, typer.Option(help="Such as 1,3,9-12.")] = f"1-{ROWS[-1]}",
    minutes: Annotated[float, typer.Option(help="The whole may take so long.")] = 75,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what has passed, too.")] = False,
) -> None:
    """Prove every promise at its full size; exit 1 unless every row passes. Goes on where a stopped run was."""
    console = Console()
    wanted = parse_rows(rows)
    FOLDER.mkdir(exist_ok=True)
    code = read_code(TREE)
    if seed is None:
        seed = (None if fresh else resumable(code, wanted)) or random.randrange(1, 2**32)
    run = load(seed)
    if run is None or run.code != code or fresh:
        run = Run(seed, code)
    until = time.monotonic() + minutes * 60
    console.print(f"Seed {seed}; {len(wanted)} rows; at most {minutes:g} minutes")
    for number in wanted:
        if number in run.rows and run.rows[number].is_passed:
            console.print(f"row {number:2}  {run.rows[number].told} before", highlight=False)
            continue
        run.rows[number] = _run_row(number, seed, until, console)
        run.save()
        if run.rows[number].outcome == "stopped":
            break
    _show(run, wanted, console)
    ended = [run.rows.get(number) for number in wanted]
    is_proven = all(row is not None and row.is_passed for row in ended)
    raise typer.Exit(0 if is_proven else 1)


def read_code(tree: Path) -> str:
    """Name the code of a tree: its commit, and a hash of what differs from it, files that git does not track too."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=tree, capture_output=True, check=True).stdout

    commit = git("rev-parse", "HEAD").decode().strip()
    changes = git("diff", "--binary", "HEAD")
    for name in filter(None, git("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")):
        changes += name + hashlib.sha256((tree / os.fsdecode(name)).read_bytes()).digest()
    return f"{commit}+{hashlib.sha256(changes).hexdigest()[:16]}" if changes else commit


def _run_row(number: int, seed: int, until: float, console: Console) -> Row:
    began = time.monotonic()
    report, log = (FOLDER / f"{seed}-{number}.{ending}" for ending in ("xml", "log"))
    report.unlink(missing_ok=True)
    columns = (SpinnerColumn(), TextColumn(f"row {number:2}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task("")
        code = _pytest(number, seed, report, log, max(0.0, until - began))
    seconds = round(time.monotonic() - began, 1)
    if code is None:
        row = Row("stopped", seconds)
    elif code == NO_TESTS:
        row = Row("no test", seconds)
    else:
        row = read_report(report, seconds, is_good=code == 0)
    row.note = NOTES.get(number, "")
    console.print(f"row {number:2}  {_told(number, row)}  {row.seconds:.0f} s", highlight=False)
    if row.outcome == "failed":
        console.print("\n".join(log.read_text().splitlines()[-SHOWN_LINES:]), markup=False, highlight=False)
        console.print(f"All of it: {log}", markup=False)
    return row


def _told(number: int, row: Row) -> str:
    return f"row {number} has no test" if row.outcome == "no test" else row.told


def _pytest(number: int, seed: int, report: Path, log: Path, timeout_s: float) -> int | None:
    """Run a row's tests and return pytest's exit code; None: stopped by Ctrl-C, or out of time."""
    command = [sys.executable, "-m", "pytest", "-m", f"promise(row={number})", f"--randomly-seed={seed}"]
    # xunit1: the other family has no place for what a test counted.
    command += [
        f"--junitxml={report}",
        "-o",
        "junit_family=xunit1",
        f"--timeout={TEST_TIMEOUT_S}",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "SCOREBOARD_TEST_SOAK": "1"}
    with log.open("w") as output:
        # A session of its own: a Ctrl-C at the terminal reaches this process alone, which then passes it on.
        child = subprocess.Popen(
            command, cwd=TREE, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            return child.wait(timeout_s)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            child.send_signal(signal.SIGINT)
            try:
                child.wait(STOP_GRACE_S)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            return None


def read_report(report: Path, seconds: float, *, is_good: bool) -> Row:
    """Return what a row's junit file says; a skipped test proves nothing."""
    if not report.exists():
        return Row("failed", seconds)
    cases = list(ElementTree.parse(report).iter("testcase"))
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    for name, value in _properties(cases):
        counts[name] += value
    is_whole = is_good and bool(cases) and not any(case.find("skipped") is not None for case in cases)
    return Row("passed" if is_whole else "failed", seconds, len(cases), **counts)


def _properties(cases: list[ElementTree.Element]) -> Iterator[tuple[str, int]]:
    for case in cases:
        for element in case.iter("property"):
            if (name := element.get("name", "")) in COUNTS:
                yield name, int(element.get("value", "0"))


def _show(run: Run, wanted: list[int], console: Console) -> None:
    table = Table("row", "outcome", "tests", "seconds", *COUNTS)
    shown = [(number, run.rows[number]) for number in wanted if number in run.rows]
    for number, row in shown:
        figures = (row.tests, f"{row.seconds:.0f}", row.faults, row.updates, row.lost, row.doubled)
        table.add_row(str(number), row.told, *map(str, figures))
    console.print(table)
    faults, updates, lost, doubled = (sum(getattr(row, name) for _, row in shown) for name in COUNTS)
    seconds = sum(row.seconds for _, row in shown)
    console.print(
        f"{sum(row.is_passed for _, row in shown)} of {len(wanted)} rows passed in {seconds / 60:.1f} minutes: "
        f"{faults:,} faults injected, {updates:,} updates counted, {lost} lost, {doubled} doubled. Seed {run.seed}; "
        f"{run.file.relative_to(TREE)}",
        highlight=False,
    )


if __name__ == "__main__":
    typer.run(main)
