"""A mesh of the bench's own, and the CPU that all its processes use."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

SCOREBOARD = str(Path(sys.executable).parent / "scoreboard")


@dataclass(frozen=True)
class Mesh:
    """A running mesh: its data folder, the gateway's HOST:PORT, and the servers' pids by name."""

    data: Path
    gateway: str
    pids: dict[str, int]

    def cpu_s(self) -> dict[str, float]:
        """Returns user + system seconds so far by process name, with children that live or were waited for."""
        return {name: _tree_cpu_s(pid) for name, pid in self.pids.items()}

    def scoreboard(self, *arguments: str) -> str:
        """Runs a command of the CLI on this mesh and returns what it prints."""
        return _run(*arguments, "--data", str(self.data))


@contextmanager
def mesh() -> Iterator[Mesh]:
    """Starts a mesh with production's defaults but for the rate limits, and stops it."""
    with tempfile.TemporaryDirectory(prefix="scoreboard-bench-") as folder:
        os.chmod(folder, 0o755)  # Postgres runs as another account when we are root
        data = Path(folder) / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        limits = ["--updates-per-minute", "1000000", "--logins-per-minute", "100000"]
        _run("up", "--detach", "--port", str(port), *limits, "--data", str(data))
        try:
            status = json.loads(_run("status", "--json", "--data", str(data)))
            pids = {process["name"]: process["pid"] for process in status["processes"]}
            yield Mesh(data, f"127.0.0.1:{port}", pids)
        finally:
            _run("down", "--data", str(data))


def _run(*arguments: str) -> str:
    done = subprocess.run([SCOREBOARD, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"scoreboard {arguments[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def _tree_cpu_s(pid: int) -> float:
    parent = psutil.Process(pid)
    own = parent.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in parent.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return float(total)
