"""A whole mesh as a user runs it: by the command line, in a folder of its own, on a port of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import view
from board.entry import BoardKey
from board.periods import BEGINNING
from scoreboard.local import probe, state
from scoreboard.local.ports import Ports, is_free
from tests.waiting import SCALE, eventually

TREE = Path(__file__).resolve().parent.parent
UP_TIMEOUT_S = 120.0  # a first start on a loaded machine; an idle one needs about ten seconds
ALL = BoardKey(1, BEGINNING)  # the first board of a new mesh
READINESS = {f"{name}_svc": f"scoreboard.v1.{name.title()}Service" for name in ("admin", "auth", "score", "stream")}
READINESS |= {"leaderboard_svc": "scoreboard.v1.LeaderboardService", "worker-1": "worker", "worker-2": "worker"}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


async def scoreboard(*arguments: str, timeout_s: float = UP_TIMEOUT_S) -> Done:
    """Run `scoreboard …` to its end."""
    process = await start_scoreboard(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), timeout_s * SCALE)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def start_scoreboard(*arguments: str) -> asyncio.subprocess.Process:
    """Start `scoreboard …` without waiting for its end."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scoreboard.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=TREE,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )


@dataclass(frozen=True)
class Mesh:
    """A mesh's folder and the gateway's port. `up` starts it unless it runs."""

    data: Path
    port: int

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.port}"

    def arguments(self, *more: str) -> tuple[str, ...]:
        """The arguments of `up` for this mesh."""
        return ("up", "--data", str(self.data), "--port", str(self.port), *more)

    async def up(self, *more: str) -> None:
        """Start it detached, unless it is ready."""
        found = state.read(self.data)
        if found is None or found.phase != "ready" or found.supervisor.find() is None:
            done = await scoreboard(*self.arguments("--detach", *more))
            assert done.code == 0, done.out + done.err

    async def down(self) -> Done:
        """Stop it."""
        return await scoreboard("down", "--data", str(self.data))

    async def kill(self) -> None:
        """End it quickly: its processes die with their supervisor."""
        found = state.read(self.data)
        if found is not None and found.supervisor.find() is not None:
            family, ports = self.family(), self.ports()
            self.supervisor().kill()
            await nothing_left(family, ports)

    async def status(self) -> dict[str, Any]:
        """What `status --json` prints."""
        done = await scoreboard("status", "--json", "--data", str(self.data))
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found

    async def until_whole(self) -> None:
        """Wait until all of it answers again, after a test that killed or froze a part: the next one counts on that."""
        await eventually(self._is_whole, 60, "a whole mesh")

    async def _is_whole(self) -> bool:
        mesh = state.require(self.data)
        answers = await asyncio.gather(
            *(
                probe.grpc_health(one.port, READINESS[one.name]) if one.name in READINESS else probe.listens(one.port)
                for one in mesh.processes
            ),
            probe.envoy_serves(f"http://127.0.0.1:{mesh.ports['envoy-admin']}"),
        )
        if not all(answers):
            return False
        try:
            async with Redis.from_url(state.redis_url(self.data)) as client:
                return await view.is_ready(client, ALL)
        except RedisError:  # it reads its data yet
            return False

    def pid(self, name: str) -> int | None:
        """The pid of a process, None while it is not there."""
        pids = [process.pid for process in state.require(self.data).running() if process.name == name]
        return pids[0] if pids else None

    def supervisor(self) -> psutil.Process:
        """The process of `scoreboard up`."""
        found = state.require(self.data).supervisor.find()
        assert found is not None
        return found

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = self.supervisor()
        return [supervisor, *supervisor.children(recursive=True)]

    def ports(self) -> list[int]:
        """Every port that the mesh listens on."""
        return sorted(state.require(self.data).ports.values())


def new_mesh(data: Path) -> Mesh:
    """A mesh in this folder on a free port."""
    ports = Ports()
    port = ports.take("gateway")
    ports.release_all()
    return Mesh(data, port)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def nothing_left(family: list[psutil.Process], ports: list[int], timeout_s: float = 30.0) -> None:
    """Wait until these processes have ended and these ports are free."""
    await eventually(lambda: not [p for p in family if is_alive(p)], timeout_s, "the end of every process")
    await eventually(lambda: all(map(is_free, ports)), timeout_s, "every port free")
