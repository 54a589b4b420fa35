"""One board, pushed to thousands: over WebSockets, beside a plain Node `ws` broadcast loop, and over gRPC streams.

What is measured is the server alone, with a core of its own; the watchers reach it without Envoy, at the ports that
Envoy would use, for the goals are about what one core of the server can push (and 10,000 sockets through Envoy are
20,000 of its files). The watchers, the rest of the mesh and the bench share the other cores. Boards move by real
updates, through the gateway, the queue and the ledger, so that a frame's cost has the reading of the board in it.

stream_svc shows a board at most 20 times a second, so Node is not asked for more: it is given the very boards that
stream_svc's watchers were just shown, the same bytes at the same times, and pushes them to as many sockets of the same
load generator. It reads them from its standard input instead of Redis, asks no server, keeps no slow reader from
filling its memory and pings nobody: whatever differs is in its favour. Frames a second of the server's CPU are
compared; of the clock, both push what there is.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import grpc

from bench import load, peer
from bench.figure import Figure, Goal
from bench.pushes import ROWS
from bench.stage import REPEATS, Stage
from bench.watching import POLL_S, Pushed, Watchers, allow_files, alone, pin, pushed, rss_kb, watchers
from scoreboard.local import state
from scoreboard.v1 import leaderboard_pb2, leaderboard_pb2_grpc

SERVER = "stream_svc"
PORTS = {"websocket": "stream_svc-http", "grpc": "stream_svc-gateway"}  # that the gateway uses
SOCKETS, MORE_SOCKETS, STREAMS = 1_000, 10_000, 8_000
SPARE_FILES = 500
FAST, MODERATE = 20.0, 10.0  # changes a second: as many as are shown, and so few that 10,000 sockets leave a core rest
WARM_UP_S, WINDOW_S = 3.0, 6.0
SHOWN_WITHIN_S = 5.0

NODE_GOAL = Goal(1.2, is_most=False)
COST_GOAL, MEMORY_GOAL = Goal(1.25), Goal(20.0)
PUSHES_GOAL = Goal(120_000, is_most=False)


async def fanout(stage: Stage) -> list[Figure]:
    """Frames of a top 10 to 1,000 WebSockets, beside Node's `ws`."""
    async with _scene(stage, SOCKETS) as scene, scene.watchers("websocket", SOCKETS) as crowd:
        try:
            ours, nodes = await _beside_node(scene, crowd)
        except peer.Missing as e:
            print(f"fanout: not measured beside Node: {e}", file=sys.stderr)
            ours, nodes = await scene.repeat(crowd, FAST), []
    name = f"frame to {SOCKETS:,} sockets"
    figures = _figures(name, ours)
    if nodes:
        ratios = [one.per_cpu_s / node.per_cpu_s for one, node in zip(ours, nodes, strict=True)]
        figures += _figures(f"{name} by Node's ws", nodes)
        figures.append(Figure(f"{name}: a CPU second beside Node's ws", ratios, "× Node", NODE_GOAL))
    return figures


async def fanout10k(stage: Stage) -> list[Figure]:
    """The same to 10,000 WebSockets: the cost of a frame beside that at 1,000, and the memory of a socket."""
    with Stage() as own:  # a server that has had no sockets yet: what it once needed, it would need no more
        async with _scene(own, MORE_SOCKETS) as scene:
            before_kb = rss_kb(scene.server)
            async with scene.watchers("websocket", SOCKETS) as crowd:
                few = await scene.repeat(crowd, MODERATE)
            async with scene.watchers("websocket", MORE_SOCKETS) as crowd:
                many = await scene.repeat(crowd, MODERATE)
                socket_kb = (rss_kb(scene.server) - before_kb) / MORE_SOCKETS
    name, few_us = f"frame to {MORE_SOCKETS:,} sockets", statistics.median(one.cpu_us for one in few)
    ratios = [one.cpu_us / few_us for one in many]
    return [
        *_figures(name, many),
        Figure(f"{name}: CPU beside one to {SOCKETS:,}", ratios, "×", COST_GOAL),
        Figure(f"memory of a socket, of {MORE_SOCKETS:,}", [socket_kb], "kB", MEMORY_GOAL),
    ]


async def pushes(stage: Stage) -> list[Figure]:
    """Messages of a top 10 to 8,000 gRPC streams, at the port that the gateway calls, more than a core can push."""
    async with _scene(stage, STREAMS) as scene, scene.watchers("grpc", STREAMS) as crowd:
        measured = await scene.repeat(crowd, FAST)
    return _figures(f"push to {STREAMS:,} gRPC streams", measured, PUSHES_GOAL)


@dataclass(frozen=True)
class Scene:
    """stream_svc (a pid) on a core of its own, and the ten who are at the top of the board and move it."""

    server: int
    core: set[int]
    ports: Mapping[str, int]
    channels: Sequence[grpc.aio.Channel]
    token: str
    top: Sequence[str]

    def watchers(self, kind: str, count: int) -> AbstractAsyncContextManager[Watchers]:
        """Lets so many watch, by "websocket" or "grpc"."""
        return watchers(kind, self.ports[PORTS[kind]], count)

    async def move(self, per_second: float, seconds: float) -> None:
        """Gives one of the ten a point, so many times a second."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        calls = load.batches(self.channels, self.token, self.top, int(per_second * seconds), 1)
        for number, call in enumerate(calls):
            await asyncio.sleep(began_s + number / per_second - loop.time())
            await call()

    async def repeat(self, crowd: Watchers, per_second: float) -> list[Pushed]:
        """Moves the board to warm up, and then REPEATS times, counting."""
        measured = [
            await pushed(crowd, self.server, partial(self.move, per_second, seconds))
            for seconds in (WARM_UP_S, *[WINDOW_S] * REPEATS)
        ]
        await self.check(crowd)
        return measured[1:]

    async def check(self, crowd: Watchers) -> None:
        """Waits until all are shown what a reader of the board gets. Raises TimeoutError when they never are."""
        async with asyncio.timeout(SHOWN_WITHIN_S):
            while [tuple(row) for row in (await crowd.settled()).rows] != await _top(self.channels):
                pass  # settled() takes its time


@asynccontextmanager
async def _scene(stage: Stage, sockets: int) -> AsyncIterator[Scene]:
    """Prepares stream_svc for so many sockets. Raises RuntimeError when this machine has not the cores or files."""
    mesh, sessions = stage.mesh, await stage.sessions()
    token = await mesh.client_token()
    running = state.require(mesh.data)
    server, others = mesh.pids[SERVER], [pid for name, pid in mesh.pids.items() if name != SERVER]
    allow_files(server, sockets + SPARE_FILES)
    channels = load.channels(mesh.gateway)
    try:
        top = await _full_top(channels, token, [session.user_id for session in sessions])
        with alone(server, others) as core:
            yield Scene(server, core, running.ports, channels, token, top)
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def _full_top(channels: Sequence[grpc.aio.Channel], token: str, user_ids: Sequence[str]) -> list[str]:
    """Returns the ten at the top, after putting ten of these players on a board that has fewer. Raises TimeoutError."""
    async with asyncio.timeout(SHOWN_WITHIN_S):
        top = await _top(channels)
        if len(top) < ROWS:
            (fill,) = load.batches(channels, token, user_ids, 1, ROWS)
            await fill()
        while len(top) < ROWS:
            await asyncio.sleep(POLL_S)
            top = await _top(channels)
    return [user_id for user_id, _ in top]


async def _top(channels: Sequence[grpc.aio.Channel]) -> list[tuple[str, float]]:
    stub = leaderboard_pb2_grpc.LeaderboardServiceStub(channels[0])
    answer = await stub.GetLeaderboard(leaderboard_pb2.GetLeaderboardRequest(limit=ROWS), timeout=10)
    return [(row.user_id, row.score) for row in answer.leaderboard]


async def _beside_node(scene: Scene, crowd: Watchers) -> tuple[list[Pushed], list[Pushed]]:
    """Returns the repeats of both, in turns. Raises peer.Missing."""
    ours, nodes = [], []
    async with peer.broadcast() as node, watchers("websocket", node.port, SOCKETS) as its_crowd:
        pin(node.pid, scene.core)
        for seconds in (WARM_UP_S, *[WINDOW_S] * REPEATS):
            ours.append(await pushed(crowd, scene.server, partial(scene.move, FAST, seconds)))
            boards = await crowd.boards()
            nodes.append(await pushed(its_crowd, node.pid, partial(node.replay, boards)))
            assert nodes[-1].messages == SOCKETS * len(boards), "Node did not push all that it was given"
        await scene.check(crowd)
    return ours[1:], nodes[1:]


def _figures(name: str, measured: Sequence[Pushed], goal: Goal | None = None) -> list[Figure]:
    return [
        Figure(f"{name}: CPU", [one.cpu_us for one in measured], "µs"),
        Figure(f"{name}: in a second of the server's CPU", [one.per_cpu_s for one in measured], "/CPU s", goal),
        Figure(f"{name}: rate", [one.per_second for one in measured], "/s"),
    ]
