"""What the cases share: the mesh, the yardstick of an empty call, and how a case is repeated and its CPU counted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import fill, load
from bench.figure import Figure, Goal
from bench.mesh import Mesh, mesh, yardstick
from scoreboard.v1 import auth_pb2

REPEATS = 3
PLAYERS = 64
EMPTIES = 6_000
CROWD, CROWD_BOARDS = 1_000_000, ("all", "daily", "weekly")
RENEW_S = 120.0  # access tokens live ten minutes: a case has eight


@dataclass(frozen=True)
class Repeat:
    """One repeat of a case: CPU by process in µs an operation, operations a second, latencies."""

    cpu_us: dict[str, float]
    per_second: float
    p50_ms: float
    p99_ms: float

    @property
    def total_us(self) -> float:
        """All processes together."""
        return sum(self.cpu_us.values())


async def repeat(
    target: Mesh, run: Callable[[int], Awaitable[load.Answers]], count: int, repeats: int = REPEATS
) -> list[Repeat]:
    """Runs `run(count)` once with a quarter of the count, to warm up, and then so many times, counting CPU."""
    await run(max(64, count // 4))
    measured = []
    for _ in range(repeats):
        before = target.cpu_s()
        answers = await run(count)
        after = target.cpu_s()
        cpu_us = {name: (after[name] - before[name]) / answers.operations * 1e6 for name in after}
        p50, p99 = (answers.latencies_ms[int(share * len(answers.latencies_ms))] for share in (0.50, 0.99))
        measured.append(Repeat(cpu_us, answers.operations / answers.wall_s, p50, p99))
    return measured


class Stage:
    """Starts what is asked for when it is asked for first, and stops all of it at its end."""

    def __init__(self) -> None:
        self._started = ExitStack()
        self._crowded = ExitStack()
        self._mesh: Mesh | None = None
        self._crowded_mesh: Mesh | None = None
        self._sessions: list[auth_pb2.Session] = []
        self._sessions_until = float("-inf")  # monotonic: their tokens are new enough so long
        self._nothing: Mesh | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_crowded()
        self._started.close()

    @property
    def mesh(self) -> Mesh:
        """The mesh of the ordinary cases, with production's defaults but for the rate limits."""
        if self._mesh is None:
            self._mesh = self._started.enter_context(mesh())
        return self._mesh

    async def crowded(self) -> Mesh:
        """Returns a mesh with CROWD players, as bench.fill left it or as an earlier case did."""
        if self._crowded_mesh is None:
            self._crowded_mesh = self._crowded.enter_context(mesh())
            await fill.fill(self._crowded_mesh, CROWD, CROWD_BOARDS)
        return self._crowded_mesh

    def end_crowded(self) -> None:
        """Stops the mesh of many players: idle, too, it would cost the other cases something."""
        self._crowded_mesh = None
        self._crowded.close()

    async def sessions(self) -> list[auth_pb2.Session]:
        """Returns sessions of PLAYERS players of `mesh`, the same each time, whose tokens are new enough for a case."""
        if time.monotonic() > self._sessions_until:
            gateway = self.mesh.gateway
            self._sessions = await (
                load.renew(gateway, self._sessions) if self._sessions else load.sign_up(gateway, PLAYERS)
            )
            self._sessions_until = time.monotonic() + RENEW_S
        return self._sessions

    async def empty_us(self) -> float:
        """Returns the yardstick: what an empty call to grpc.aio costs behind the same gateway, as of now.

        Measured anew beside each case: a shared host's clock drifts by a third within minutes.
        """
        if self._nothing is None:
            self._nothing = self._started.enter_context(yardstick())
        nothing = self._nothing
        measured = await repeat(
            nothing, lambda n: load.send(nothing.gateway, load.empties(n), 64, lambda _: 1), EMPTIES
        )
        return statistics.median(one.total_us for one in measured)


def cpu_figure(name: str, measured: list[Repeat], goal: Goal | None = None) -> Figure:
    """Returns the CPU an operation, with each process's share."""
    parts = {part: statistics.median(one.cpu_us[part] for one in measured) for part in measured[0].cpu_us}
    return Figure(f"{name}: CPU", [one.total_us for one in measured], "µs", goal, parts)


def ratio_figure(name: str, measured: list[Repeat], empty_us: float, goal: Goal | None) -> Figure:
    """Returns the CPU an operation, in empty calls."""
    return Figure(f"{name}: CPU beside an empty call", [one.total_us / empty_us for one in measured], "× empty", goal)


def rate_figures(name: str, measured: list[Repeat], p50: Goal | None = None) -> list[Figure]:
    """Returns the wall rate and the latencies, which the load generator on the same cores shares in."""
    return [
        Figure(f"{name}: rate", [one.per_second for one in measured], "/s"),
        Figure(f"{name}: p50", [one.p50_ms for one in measured], "ms", p50),
        Figure(f"{name}: p99", [one.p99_ms for one in measured], "ms"),
    ]
