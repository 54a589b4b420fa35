"""Shows where a case's time goes: `make profile CASE=unary`.

py-spy samples each Python service of the meshes that the case starts, while it holds the interpreter's lock, and draws
a flame graph of each in bench/profiles/CASE/. Time in system calls and in C that lets go of the lock, such as argon2,
is not seen. What the case measures meanwhile counts for nothing: whoever is sampled stands still.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.mesh import TREE, is_service
from scoreboard.local import state
from scoreboard.local.accounts import SERVICES

PROFILES = TREE / "bench/profiles"
PY_SPY = str(Path(sys.executable).parent / "py-spy")
PER_SECOND = 100
LOOK_S = 0.5  # for services that came up
END_TIMEOUT_S = 30.0  # py-spy draws when what it samples has ended
FRAMES = 8
SAMPLES_MIN = 50  # of a service that did anything
OWN = tuple(f"{name}/" for name in (*SERVICES, "board", "mesh", "scoreboard"))
IMPORTING = "<frozen importlib._bootstrap>"  # a service that starts within the case
CURE = (
    "Run it as root, or allow it: sysctl kernel.yama.ptrace_scope=0, or in a container docker run --cap-add SYS_PTRACE."
)
_WIDTH, _LEFT = ("{http://github.com/jonhoo/inferno}" + name for name in "wx")
_SVG = "{http://www.w3.org/2000/svg}"


class NotAllowed(Exception):  # noqa: N818 -- a state of the machine
    """This process may not look into others."""


@dataclass(frozen=True)
class Frame:
    """A function, and the share of all samples (0 to 1) in which it ran itself. own: ours that called it most."""

    name: str
    share: float
    own: str


def main(
    case: Annotated[str, typer.Argument(help="As of make bench.", metavar="CASE")],
) -> None:
    """Run a case of the bench under py-spy; draw a flame graph per service, and print the widest frames of each.

    The flame graphs are bench/profiles/CASE/SERVICE-NUMBER.svg, to be opened in a browser; some cases start two meshes.
    """
    console = Console(width=160)
    folder = PROFILES / case
    try:
        check_allowed()
        graphs = record(case, folder)
    except NotAllowed as e:
        console.print(f"py-spy may not look into other processes: {e}\n{CURE}", style="red", highlight=False)
        raise typer.Exit(1) from e
    if not graphs:
        console.print(f"The case {case!r} started no mesh, or ended before it was ready: see above.", style="red")
        raise typer.Exit(1)
    for graph in graphs:
        console.print(table(graph) or f"{graph.stem}: idle")
    console.print(f"Flame graphs: {folder.relative_to(TREE)}/")


def check_allowed() -> None:
    """Raises NotAllowed when this account may not look into a process that it started."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        time.sleep(LOOK_S)
        done = subprocess.run([PY_SPY, "dump", "--pid", str(other.pid)], capture_output=True, text=True, check=False)
        other.communicate(b"\n")
    if done.returncode:
        raise NotAllowed(done.stderr.strip().partition("\n")[0])


def record(case: str, folder: Path) -> list[Path]:
    """Runs the case and returns the flame graphs of what it started."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recorders: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}
    with tempfile.TemporaryDirectory(prefix="scoreboard-profile-") as meshes:
        os.chmod(meshes, 0o755)  # Postgres runs as another account when we are root
        command = [sys.executable, "-m", "bench", case, "--no-save"]
        with subprocess.Popen(command, cwd=TREE, env=os.environ | {"TMPDIR": meshes}) as bench:
            while bench.poll() is None:
                for name, pid in _services(Path(meshes)):
                    if pid not in recorders:
                        recorders[pid] = begin(name, pid, folder)
                time.sleep(LOOK_S)
        for _, recorder in recorders.values():
            recorder.wait(END_TIMEOUT_S)
    return sorted(graph for graph, _ in recorders.values() if graph.exists())


def _services(meshes: Path) -> Iterator[tuple[str, int]]:
    for file in meshes.glob("scoreboard-bench-*/data/mesh.json"):
        mesh = state.read(file.parent)
        if mesh is not None and mesh.phase == "ready":
            yield from ((process.name, process.pid) for process in mesh.running() if is_service(process.name))


def begin(name: str, pid: int, folder: Path) -> tuple[Path, subprocess.Popen[bytes]]:
    """Lets py-spy sample a process until it ends; returns where the flame graph will be, and py-spy."""
    number = 1 + sum(graph.stem.rpartition("-")[0] == name for graph in folder.iterdir())
    graph = folder / f"{name}-{number}.svg"
    graph.touch()
    # --gil: threads that sleep in C count as running else, and there is one in each service.
    command = [PY_SPY, "record", "--pid", str(pid), "--rate", str(PER_SECOND), "--function", "--gil", "-o", str(graph)]
    with graph.with_suffix(".log").open("wb") as log:
        return graph, subprocess.Popen(command, stdout=log, stderr=log)


def table(graph: Path) -> Table | None:
    """Returns a flame graph's widest frames as a table for a terminal; None of a service that did nothing."""
    samples, frames = widest(graph)
    if samples < SAMPLES_MIN:
        return None
    shown = Table("itself", "function", "called by our", title=f"{graph.stem}: {samples / PER_SECOND:.1f} s")
    for frame in frames[:FRAMES]:
        shown.add_row(f"{frame.share:.1%}", frame.name, frame.own)
    return shown


def widest(graph: Path) -> tuple[int, list[Frame]]:
    """Returns how many samples a flame graph of py-spy has, and its frames, those first that ran most themselves.

    What ran while a module was imported is left out.
    """
    alone: Counter[tuple[str, str]] = Counter()
    for stack, samples in stacks(graph):
        if not any(IMPORTING in name for name in stack):
            alone[stack[-1], next((name for name in reversed(stack) if is_own(name)), "")] += samples
    total = alone.total()
    by_name: Counter[str] = Counter()
    for (name, _), samples in alone.items():
        by_name[name] += samples
    # most_common: of the own functions that called it, the one with most samples is met first.
    own = {name: mine for (name, mine), _ in reversed(alone.most_common())}
    return total, [Frame(name, samples / total, own[name]) for name, samples in by_name.most_common()]


def stacks(graph: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields each stack of a flame graph, outermost first, with the samples in which its last function ran itself."""
    rows: dict[float, list[tuple[int, int, str]]] = {}  # by depth: left, width, name
    for group in ET.parse(graph).iter(f"{_SVG}g"):
        title, box = group.find(f"{_SVG}title"), group.find(f"{_SVG}rect")
        if title is not None and title.text and box is not None and _WIDTH in box.attrib:
            name = title.text.rpartition(" (")[0]
            rows.setdefault(float(box.attrib["y"]), []).append((int(box.attrib[_LEFT]), int(box.attrib[_WIDTH]), name))
    yield from _stacks_below((), [rows[y] for y in sorted(rows)], 0, sys.maxsize)


def _stacks_below(
    outer: tuple[str, ...], levels: Sequence[Sequence[tuple[int, int, str]]], left: int, right: int
) -> Iterator[tuple[tuple[str, ...], int]]:
    first, *rest = levels or ((),)
    for at, width, name in first:
        if left <= at < right:
            itself = width - sum(w for x, w, _ in (rest[0] if rest else ()) if at <= x < at + width)
            if itself:
                yield (*outer, name), itself
            yield from _stacks_below((*outer, name), rest, at, at + width)


def is_own(name: str) -> bool:
    """Whether a frame, such as `place (board/read_redis.py:40)`, is in code of ours."""
    return name.rpartition(" (")[2].startswith(OWN)


if __name__ == "__main__":
    typer.run(main)
