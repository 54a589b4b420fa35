"""A mesh of the bench's own, and the CPU that all its processes use."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from urllib.request import urlopen

import asyncpg
import psutil

from bench import load
from scoreboard.local import accounts, gateway, servers, state
from scoreboard.local.ports import Ports
from scoreboard.local.services import BEHIND_GATEWAY

TREE = Path(__file__).parent.parent
START_TIMEOUT_S = 20.0
POLL_S = 0.1
UNLIMITED = 1_000_000  # a minute
CLIENT_RATE = 100_000  # a second, the most that a client may have
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

    def rss_bytes(self) -> dict[str, int]:
        """Returns the resident memory by process name, of the process itself; children are left out."""
        return {name: psutil.Process(pid).memory_info().rss for name, pid in self.pids.items()}

    def looked_up_again(self) -> "Mesh":
        """Returns the mesh with the pids of now: one that ended was started again."""
        return replace(self, pids=_pids(self.data))

    @asynccontextmanager
    async def postgres(self, account: str = accounts.OWNER) -> AsyncIterator[asyncpg.Connection]:
        """Yields a connection to the database, as its owner or another account."""
        connection = await asyncpg.connect(state.postgres_url(self.data, account))
        try:
            yield connection
        finally:
            await connection.close()

    async def client_token(self) -> str:
        """Makes a trusted client that no rate holds back, and returns an access token of it, good for ten minutes."""
        name = f"bench-{secrets.token_hex(4)}"
        made = json.loads(self.scoreboard("clients", "create", name, "--rate", str(CLIENT_RATE), "--json"))
        return await load.client_token(self.gateway, made["client_id"], made["client_secret"])

    def scoreboard(self, *arguments: str) -> str:
        """Runs a command of the CLI on this mesh and returns what it prints."""
        return _run(*arguments, "--data", str(self.data))


@contextmanager
def mesh(environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[Mesh]:
    """Starts a mesh with production's defaults but for the rate limits and these variables, and stops it."""
    with folder() as data:
        started = up(data, environment)
        try:
            yield started
        finally:
            down(data)


@contextmanager
def folder() -> Iterator[Path]:
    """Makes room for a mesh's data, and removes it."""
    with tempfile.TemporaryDirectory(prefix="scoreboard-bench-") as parent:
        os.chmod(parent, 0o755)  # Postgres runs as another account when we are root
        yield Path(parent) / "data"


def up(data: Path, environment: Mapping[str, str] = MappingProxyType({})) -> Mesh:
    """Starts a mesh on this folder, with production's defaults but for the rate limits; returns when it is ready."""
    return Mesh(data, call_up(data, environment), _pids(data))


def call_up(data: Path, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Does what `up` does and no more, for whoever times it; returns the gateway's HOST:PORT."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limits = ["--updates-per-minute", str(UNLIMITED), "--logins-per-minute", "100000"]
    _run("up", "--detach", "--port", str(port), *limits, "--data", str(data), environment=environment)
    return f"127.0.0.1:{port}"


def down(data: Path) -> None:
    """Stops the mesh of this folder."""
    _run("down", "--data", str(data))


@contextmanager
def yardstick() -> Iterator[Mesh]:
    """Starts the server whose calls do nothing behind a gateway of its own, and stops both (bench/empty.py)."""
    ports = Ports()
    numbers = {name: ports.take(name) for name in ("gateway", "envoy-admin", "empty")}
    ports.release_all()
    behind = (*BEHIND_GATEWAY, "auth_svc-http", "stream_svc-http", "leaderboard_svc-gateway")
    text = gateway.render(numbers | dict.fromkeys(behind, numbers["empty"]), UNLIMITED, UNLIMITED, hop=gateway.Hop.GRPC)
    with tempfile.TemporaryDirectory(prefix="scoreboard-bench-") as folder:
        envoy = servers.envoy(Path(folder), text, numbers["gateway"], numbers["envoy-admin"])
        commands = {
            "empty": [sys.executable, "-m", "bench.empty", str(numbers["empty"])],
            "envoy": list(envoy.argv),
        }
        with (Path(folder) / "log").open("wb") as log:
            started = {
                name: subprocess.Popen(command, cwd=TREE, stdout=log, stderr=log) for name, command in commands.items()
            }
        try:
            admin = f"http://127.0.0.1:{numbers['envoy-admin']}"
            _wait_for(lambda: _is_healthy(admin))
            yield Mesh(
                Path(folder), f"127.0.0.1:{numbers['gateway']}", {name: one.pid for name, one in started.items()}
            )
        finally:
            for one in started.values():
                one.terminate()
                one.wait()


def _is_healthy(admin: str) -> bool:
    return b": 1" in _get(f"{admin}/stats?filter=^cluster.leaderboard.membership_healthy$")


def _get(url: str) -> bytes:
    try:
        with urlopen(url, timeout=1) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("the yardstick's server did not start")
        time.sleep(POLL_S)


def is_service(name: str) -> bool:
    """Whether a process of a mesh, by its name, is a service or a worker of ours."""
    return name.partition("-")[0] in accounts.SERVICES


def _pids(data: Path) -> dict[str, int]:
    status = json.loads(_run("status", "--json", "--data", str(data)))
    return {process["name"]: process["pid"] for process in status["processes"]}


def _run(*arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    command, variables = [SCOREBOARD, *arguments], {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
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
