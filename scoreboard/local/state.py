"""What a running mesh says of itself in DIR/mesh.json, and how others find it.

Only the supervisor writes it. A process counts as running when its pid lives and was started when the file says,
for a pid alone may have been given to somebody else.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

from scoreboard.local import accounts, secrets
from scoreboard.local.files import write_private
from scoreboard.local.trouble import Trouble

DATABASE = "scoreboard"
VHOST = "scoreboard"
START_CURE = "Start it: scoreboard up (with the same --data)."
FOLDER_CURE = "Look at the free space (df -h) and the rights of the folder, or choose another one with --data."
CLOCK_SLACK_S = 1.0  # the kernel counts a start in ticks since boot; boot time itself is a rounded guess


@dataclass(frozen=True)
class Process:
    """A process of the mesh. started_at: unix seconds. listed: shown by `scoreboard status`."""

    name: str
    pid: int
    port: int
    started_at: float
    listed: bool = True

    @classmethod
    def of(cls, name: str, pid: int, port: int, listed: bool = True) -> Process:
        """Describe a process that runs now."""
        with suppress(psutil.Error):
            return cls(name, pid, port, psutil.Process(pid).create_time(), listed)
        return cls(name, pid, port, 0.0, listed)

    def find(self) -> psutil.Process | None:
        """Return the live process, or None."""
        with suppress(psutil.Error):
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started_at) < CLOCK_SLACK_S
            if same and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None


@dataclass(frozen=True)
class MeshState:
    """One mesh. phase: `starting`, `ready` or `stopping`. ports: by name, taken again at the next start."""

    supervisor: Process
    phase: str
    gateway: str
    ports: dict[str, int]
    processes: tuple[Process, ...] = field(default=())

    @property
    def admin(self) -> str | None:
        """AdminService's address; None in a mesh that an older version started."""
        port = self.ports.get("admin_svc")
        return None if port is None else f"http://127.0.0.1:{port}"

    @property
    def monitoring(self) -> dict[str, str]:
        """Where Prometheus and Alertmanager are, by name, in a mesh that runs them."""
        found = {process.name: process.port for process in self.processes}
        names = ("prometheus", "alertmanager")
        return {name: f"http://127.0.0.1:{found[name]}" for name in names if name in found}

    def running(self) -> list[Process]:
        """Return the processes that live."""
        return [process for process in self.processes if process.find() is not None]

    def with_process(self, process: Process) -> MeshState:
        """Return the state with this process in place of the one of its name."""
        others = tuple(other for other in self.processes if other.name != process.name)
        return replace(self, processes=(*others, process))


def read(data: Path) -> MeshState | None:
    """Return what the mesh of this folder last said, or None when there was none."""
    try:
        values = json.loads((data / "mesh.json").read_text())
        return MeshState(
            supervisor=Process(**values["supervisor"]),
            phase=values["phase"],
            gateway=values["gateway"],
            ports=values["ports"],
            processes=tuple(Process(**process) for process in values["processes"]),
        )
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Trouble(f"{data} belongs to another user: {error}", "Run this as that user.") from error
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged file describes nothing; the next start writes a new one


def write(data: Path, state: MeshState) -> None:
    """Write what the mesh says of itself. Raises OSError."""
    write_private(data / "mesh.json", json.dumps(asdict(state), indent=2) + "\n")


def require(data: Path) -> MeshState:
    """Return the state of a mesh that runs. Raises Trouble when none does."""
    state = read(data)
    if state is None or state.supervisor.find() is None:
        raise Trouble(f"No mesh runs under {data}.", START_CURE)
    return state


def gateway_target(data: Path) -> str:
    """Return the running gateway's `host:port`. Raises Trouble when no mesh runs."""
    return require(data).gateway.removeprefix("http://")


def postgres_url(data: Path, account: str = accounts.OWNER) -> str:
    """Return an account's DSN of the running mesh's database. Raises Trouble when no mesh runs."""
    port = require(data).ports["postgres"]
    return accounts.postgres_url(account, secrets.load(data).postgres[account], port, DATABASE)


def redis_url(data: Path, account: str = accounts.OWNER) -> str:
    """Return an account's URL of the running mesh's Redis. Raises Trouble when no mesh runs."""
    port = require(data).ports["redis"]
    return accounts.redis_url(account, secrets.load(data).redis[account], port)


def rabbitmq_url(data: Path, account: str = accounts.OWNER) -> str:
    """Return an account's URL of the running mesh's RabbitMQ. Raises Trouble when no mesh runs."""
    port = require(data).ports["rabbitmq"]
    return accounts.rabbitmq_url(account, secrets.load(data).rabbitmq[account], port, VHOST)


class Lock:
    """DIR/up.lock: held by the one supervisor of a folder; the kernel lets go of it when that dies."""

    def __init__(self, data: Path) -> None:
        self._file = (data / "up.lock").open("a")

    def take(self) -> bool:
        """Take it unless another process has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of it."""
        self._file.close()
