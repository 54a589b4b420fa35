"""What grows with success must not slow updates down: players, boards, months of ledger.

Each compares two kinds of update, or two meshes, in turn. An update is one call of a trusted client for one player,
anyone of all (a token each for a million players would be measured instead); the way behind it is a player's own.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import asyncpg

from bench import fill, load
from bench.cases.backlog import rebuilt
from bench.cases.memory import entry_bytes
from bench.figure import Figure, Goal
from bench.h2 import Request, request
from bench.mesh import Mesh, mesh
from bench.months import add_months
from bench.stage import CROWD, CROWD_BOARDS, REPEATS, Repeat, Stage, cpu_figure, repeat
from scoreboard.v1 import score_pb2, signing

FEW_PLAYERS = 1_000
WARM_UP_BATCHES = 500
MONTHS, MONTH_ROWS = 12, 50_000
UPDATES, BATCHES, BATCH_SIZE = 6_000, 300, 100
UPDATES_IN_FLIGHT, BATCHES_IN_FLIGHT = 64, 8
LEARN_TIMEOUT_S = 20.0
SLOWER_GOAL, BOARDS_GOAL, MONTHS_GOAL = Goal(0.85, is_most=False), Goal(1.6), Goal(1.1)

CATALOGUE = """
[actions.one-board]
points = 1
[actions.four-boards]
points = 1
[boards.all]
[boards.daily]
period = "day"
actions = ["four-boards"]
[boards.weekly]
period = "week"
actions = ["four-boards"]
[boards.monthly]
period = "month"
actions = ["four-boards"]
"""


@dataclass(frozen=True)
class Side:
    """One of two that are compared: a mesh, its trusted client's token, its players, and what these do."""

    mesh: Mesh
    token: str
    user_ids: Sequence[str]
    action: str = load.ACTION

    async def update(self, count: int) -> load.Answers:
        """Sends updates, one a call."""
        return await self._send(count, 1, UPDATES_IN_FLIGHT)

    async def batch(self, count: int) -> load.Answers:
        """Sends batches."""
        return await self._send(count, BATCH_SIZE, BATCHES_IN_FLIGHT)

    async def _send(self, count: int, size: int, in_flight: int) -> load.Answers:
        return await load.send(self.mesh.gateway, [self._prepare(size) for _ in range(count)], in_flight, _applied)

    def _prepare(self, size: int) -> Request:
        message = score_pb2.UpdateScoresRequest()
        for user_id in random.choices(self.user_ids, k=size):
            nonce = signing.client_nonce(int(time.time() * 1000), os.urandom(10))
            message.updates.add(user_id=user_id, action_id=self.action, nonce=nonce)
        metadata = {"authorization": f"Bearer {self.token}"}
        return request("/scoreboard.v1.ScoreService/UpdateScores", message.SerializeToString(), metadata)


async def players(stage: Stage) -> list[Figure]:
    """Updates with 1,000,000 players on three boards beside 1,000; what a board of so many takes, and its rebuild."""
    with ExitStack() as stack:
        stack.callback(stage.end_crowded)
        few, many = await _filled(stack.enter_context(mesh()), FEW_PLAYERS), await _side(await stage.crowded(), CROWD)
        board = [await entry_bytes(many.mesh, CROWD), await rebuilt(many.mesh, CROWD)]
        await many.batch(WARM_UP_BATCHES)  # the first update of a page after a checkpoint writes all of it to the WAL
        one_a_call = await _in_turn(few, many, Side.update, UPDATES)
        in_batches = await _in_turn(few, many, Side.batch, BATCHES)
    names = f"{FEW_PLAYERS:,} players", f"{CROWD:,} players"
    return [
        *_beside("update, {}", names, one_a_call, rate=SLOWER_GOAL),
        *_beside(f"update in a batch of {BATCH_SIZE}, {{}}", names, in_batches, rate=SLOWER_GOAL),
        *board,
    ]


async def boards(_: Stage) -> list[Figure]:
    """Updates that count on four boards beside updates that count on one, in one mesh."""
    with mesh() as target:
        one, four = await _one_and_four(target)
        measured = await _in_turn(one, four, Side.update, UPDATES)
    return _beside("update, {}", ("1 board", "4 boards"), measured, cpu=BOARDS_GOAL)


async def months(_: Stage) -> list[Figure]:
    """Updates with twelve months of ledger beside one month."""
    with ExitStack() as stack:
        one, twelve = [await _filled(stack.enter_context(mesh()), FEW_PLAYERS) for _ in range(2)]
        for side, count in ((one, 1), (twelve, MONTHS)):
            await add_months(side.mesh, count, MONTH_ROWS)
        measured = await _in_turn(one, twelve, Side.update, UPDATES)
    return _beside("update, {}", ("1 month of ledger", f"{MONTHS} months of ledger"), measured, cpu=MONTHS_GOAL)


async def _filled(target: Mesh, count: int) -> Side:
    await fill.fill(target, count, CROWD_BOARDS)
    return await _side(target, count)


async def _side(target: Mesh, count: int) -> Side:
    return Side(target, await target.client_token(), [fill.user_id(number + 1) for number in range(count)])


async def _one_and_four(target: Mesh) -> tuple[Side, Side]:
    """Makes of a new mesh one with an action that counts on one board, and one that counts on four."""
    async with target.postgres() as owner:
        # What a board counts cannot be changed by `scoreboard apply`; nothing was counted yet.
        await owner.execute("UPDATE boards SET actions = '{four-boards}' WHERE name <> 'all'")
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(CATALOGUE)
            file.flush()
            target.scoreboard("apply", file.name)
        side = await _filled(target, FEW_PLAYERS)
        one, four = replace(side, action="one-board"), replace(side, action="four-boards")
        async with asyncio.timeout(LEARN_TIMEOUT_S):  # the workers learn of it within seconds
            while True:
                if [await _counted(owner, each) for each in (one, four)] == [1, 4]:
                    return one, four


async def _counted(owner: asyncpg.Connection, side: Side) -> float:
    """Returns on how many boards an update of this side counts."""
    query = "SELECT sum(score) FROM board_entries"
    before = await owner.fetchval(query)
    updates = (await side.update(UPDATES // 10)).operations
    return float((await owner.fetchval(query) - before) / updates)


async def _in_turn(
    few: Side, many: Side, run: Callable[[Side, int], Awaitable[load.Answers]], count: int
) -> tuple[list[Repeat], list[Repeat]]:
    """Repeats on both sides in turn: what else the machine does then hits both."""
    found: tuple[list[Repeat], list[Repeat]] = ([], [])
    for _ in range(REPEATS):
        for side, mine in zip((few, many), found, strict=True):
            mine += await repeat(side.mesh, partial(run, side), count, repeats=1)
    return found


def _beside(
    name: str,
    sizes: tuple[str, str],
    measured: tuple[list[Repeat], list[Repeat]],
    *,
    rate: Goal | None = None,
    cpu: Goal | None = None,
) -> list[Figure]:
    before, now = (name.format(size) for size in sizes)
    pairs = list(zip(*measured, strict=True))
    return [
        cpu_figure(before, measured[0]),
        cpu_figure(now, measured[1]),
        Figure(f"{now}: CPU beside {sizes[0]}", [many.total_us / few.total_us for few, many in pairs], "×", cpu),
        Figure(f"{now}: rate beside {sizes[0]}", [many.per_second / few.per_second for few, many in pairs], "×", rate),
    ]


def _applied(message: bytes) -> int:
    results = score_pb2.UpdateScoresResponse.FromString(message).results
    return len(results) if all(result.status == score_pb2.APPLIED for result in results) else 0
