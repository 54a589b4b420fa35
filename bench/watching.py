"""A server that pushes, on a core of its own, and the crowd that watches it from another (bench/sockets.py)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.mesh import TREE

SETTLE_TIMEOUT_S = 15.0
POLL_S = 0.1  # twice stream_svc's interval of reading: what has changed by then has come
ANSWER_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True)
class Tally:
    """What a crowd was sent so far: see bench.sockets.Crowd.tally."""

    messages: int
    last_at_s: float  # monotonic seconds
    boards: int
    rows: list[tuple[str, float]]
    behind: int
    trouble: str


class Watchers:
    """A crowd, asked by its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tally(self) -> Tally:
        """Returns what came so far. Raises AssertionError when something was not as it must be."""
        tally = Tally(**await self._ask("tally"))
        assert not tally.trouble, tally.trouble
        return tally

    async def boards(self) -> list[tuple[float, str]]:
        """Returns (monotonic seconds, text) of each board that came since the last call."""
        return [(at, text) for at, text in await self._ask("boards")]

    async def settled(self) -> Tally:
        """Waits until everyone has been shown the newest board, and nothing more comes. Raises TimeoutError."""
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            before, now = None, await self.tally()
            while now.behind or now != before:
                await asyncio.sleep(POLL_S)
                before, now = now, await self.tally()
        return now

    async def _ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n".encode())
        answer = await self._process.stdout.readline()
        assert answer, "the load generator ended: what it said stands above"
        return json.loads(answer)


@asynccontextmanager
async def watchers(kind: str, port: int, count: int) -> AsyncIterator[Watchers]:
    """Lets so many sockets watch the server of that port; all are open when they are first asked."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.sockets", kind, f"127.0.0.1:{port}", str(count)),
        cwd=TREE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ANSWER_BYTES_MAX,
    )
    try:
        yield Watchers(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@dataclass(frozen=True)
class Pushed:
    """One repeat. wall_s: until the last socket was shown the last board."""

    messages: int
    boards: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_us(self) -> float:
        """The server's CPU a message."""
        return self.cpu_s / self.messages * 1e6

    @property
    def per_cpu_s(self) -> float:
        """Messages in a second of the server's CPU."""
        return self.messages / self.cpu_s

    @property
    def per_second(self) -> float:
        """Messages in a second of the clock."""
        return self.messages / self.wall_s


async def pushed(crowd: Watchers, server: int, run: Callable[[], Awaitable[object]]) -> Pushed:
    """Counts what the server (a pid) pushes to the crowd while `run` makes it push, and what CPU that costs it."""
    before, cpu_s, began_s = await crowd.settled(), _cpu_s(server), time.monotonic()
    await run()
    after = await crowd.settled()
    messages, boards = after.messages - before.messages, after.boards - before.boards
    return Pushed(messages, boards, _cpu_s(server) - cpu_s, after.last_at_s - began_s)


@contextmanager
def alone(server: int, others: Iterable[int]) -> Iterator[set[int]]:
    """Gives the server (a pid) a core, and the rest to the other pids, to this process, and to what it starts.

    Yields the server's core; all may go everywhere again in the end. Raises RuntimeError where there is one core only.
    """
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise RuntimeError("the server and the load generator need a core each, and this process may use only one")
    own = {max(cores)}
    others = [os.getpid(), *others]
    for pid in others:
        pin(pid, cores - own)
    pin(server, own)
    try:
        yield own
    finally:
        for pid in [server, *others]:
            pin(pid, cores)


def pin(pid: int, cores: set[int]) -> None:
    """Keeps a process, its children and all their threads to these cores."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            for task in _threads(one.pid):
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(task, cores)


def allow_files(server: int, count: int) -> None:
    """Lets the server (a pid) open as many files as its hard limit has. Raises RuntimeError when those are too few."""
    process = psutil.Process(server)
    _, most = process.rlimit(psutil.RLIMIT_NOFILE)
    if most < count:
        raise RuntimeError(f"the server needs {count} open files: raise the limit of {most} (ulimit -Hn)")
    process.rlimit(psutil.RLIMIT_NOFILE, (most, most))


def rss_kb(server: int) -> float:
    """Returns the memory that a process has resident, in kB of 1,000 bytes."""
    return float(psutil.Process(server).memory_info().rss) / 1000


def _threads(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _cpu_s(pid: int) -> float:
    # clock_getcpuclockid(3), which Python has for threads alone: /proc counts in ticks of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)
