"""Redis is lost, emptied or goes back in time, and Postgres goes back: what readers see meanwhile and afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from board.verify import verify
from mesh import tasks
from scoreboard.client import to_error
from scoreboard.v1 import leaderboard_pb2 as pb
from tests.fault.faults import flush_redis, restore_postgres, restore_redis, save_postgres, save_redis
from tests.fault.load import Load, insert_players
from tests.fault.trial import SETTLED_S, Trial
from tests.fault.world import World
from tests.sizes import BUSY, sized
from tests.waiting import SCALE, eventually

TOP = 100
TOP_FROM_POSTGRES_S = 1.0  # row 11
REBUILT_S = 5.0  # the same, of a board of 100,000
RIGHT_S = 10.0  # row 12
LOAD_PER_S = 40


@dataclass(frozen=True)
class Seen:
    """An answer to a reader. at, took_s: monotonic seconds. reason: of a refusal, else empty."""

    at: float
    took_s: float
    rows: int = 0
    players: int = 0
    version: int = 0
    is_stale: bool = False
    reason: str = ""


class Reader:
    """Reads the top of the board `all` as fast as it is answered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen: list[Seen] = []

    async def read(self) -> None:
        """Goes on until cancelled."""
        while True:
            started = time.monotonic()
            try:
                page = await self._world.boards.GetLeaderboard(pb.GetLeaderboardRequest(limit=TOP), timeout=10 * SCALE)
            except grpc.aio.AioRpcError as e:
                now = time.monotonic()
                self.seen.append(Seen(now, now - started, reason=to_error(e).reason or e.code().name))
                continue
            now = time.monotonic()
            rows = len(page.leaderboard)
            self.seen.append(Seen(now, now - started, rows, page.players, page.version, page.stale))
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[Seen], bool], what: str) -> float:
        """Waits for an answer from now on, and returns how many seconds it took to come."""
        since = time.monotonic()

        def first() -> list[Seen]:
            return [one for one in self.seen if one.at - one.took_s >= since and condition(one)][:1]

        (found,) = await eventually(first, what=what)
        self._world.timeline.note(f"{found.at - since:.2f} s: {what}")
        return found.at - since

    def check(self, players: int) -> None:
        """Checks that every answer was whole and in time, and that no version fell."""
        assert not [one for one in self.seen if one.reason]
        partial = [one for one in self.seen if (one.rows, one.players) != (min(TOP, players), players)]
        assert not partial, f"{len(partial)} of {len(self.seen)} answers showed a part, such as {partial[0]}"
        slowest = max(self.seen, key=lambda one: one.took_s)
        assert slowest.took_s <= TOP_FROM_POSTGRES_S * BUSY * SCALE, slowest
        versions = [one.version for one in self.seen]
        assert versions == sorted(versions)


@asynccontextmanager
async def reading(world: World) -> AsyncIterator[Reader]:
    """A reader beside the block, once it was answered from Redis."""
    reader = Reader(world)
    task = asyncio.create_task(reader.read(), name="reader")
    try:
        await reader.until(lambda one: not one.is_stale, "an answer from Redis")
        yield reader
    finally:
        await tasks.end(task)


@pytest.fixture
async def crowd(world: World) -> AsyncIterator[int]:
    """So many more players on the board `all`, each with an update of a time before all periods that are kept."""
    count = sized(2_000, 100_000)
    await insert_players(world.pool, {f"crowd-{n}": n % 5000 + 1 for n in range(1, count + 1)})
    await world.view.flushall()  # the boards' view knows nothing of them
    await all_ready(world)
    yield count
    for table, column in (("board_entries", "user_ref"), ("score_logs", "user_ref"), ("users", "id")):
        sql = f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM users WHERE user_id LIKE 'crowd-%')"
        await world.pool.execute(sql, timeout=120)
    await world.view.flushall()
    await all_ready(world)


async def all_ready(world: World) -> None:
    """Waits until every open board is served from Redis."""
    await eventually(world.is_shown, 60, "all boards in Redis")


async def everyone_plays(trial: Trial, count: int) -> None:
    """Makes players who all have an entry that is shown, so that the load beside adds none.

    An update that is sent again is answered from the ledger, moments before Redis shows it.
    """
    load = trial.load
    await asyncio.gather(*(load.send(player) for player in await load.add_players(count)))
    await load.resolve()
    await eventually(lambda: is_right(trial.world), 60, "boards as Postgres has them")


async def on_board(world: World) -> int:
    """Counts the players on the board `all`."""
    sql = """SELECT count(*) FROM board_entries JOIN boards USING (board_id)
             WHERE name = 'all' AND period_start = '-infinity' AND NOT hidden"""
    return int(await world.pool.fetchval(sql))


@pytest.mark.promise(row=11)
async def test_redis_may_go_away_or_be_emptied(trial: Trial, crowd: int) -> None:
    world, load = trial.world, trial.load
    await everyone_plays(trial, 120)
    started = time.monotonic()
    await flush_redis(world)
    await all_ready(world)
    took_s = time.monotonic() - started
    world.timeline.note(f"{took_s:.2f} s: boards of {crowd} rebuilt")
    assert took_s <= REBUILT_S * BUSY * SCALE
    players = await on_board(world)
    async with reading(world) as reader, load.running(rate_per_s=LOAD_PER_S):
        for _ in range(sized(1, 10)):
            await trial.flows()
            await flush_redis(world)
            await all_ready(world)
            await reader.until(lambda one: not one.is_stale, "an answer from Redis after FLUSHALL")
        for _ in range(sized(1, 10)):
            await trial.flows()
            await world.processes["redis"].kill()
            took_s = await reader.until(lambda one: one.is_stale, "an answer from Postgres")
            assert took_s <= TOP_FROM_POSTGRES_S * BUSY * SCALE
            await trial.flows()
            await world.processes["redis"].start()
            await reader.until(lambda one: not one.is_stale, "an answer from Redis after kill -9")
    reader.check(players)
    await trial.holds(settled_s=2 * SETTLED_S)  # comparing so many entries takes seconds by itself


@pytest.mark.promise(row=12)
async def test_redis_may_go_back_in_time(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await everyone_plays(trial, 30)
    await all_ready(world)
    players = await on_board(world)
    saved = save_redis(world)
    async with reading(world) as reader:
        async with load.running(rate_per_s=LOAD_PER_S):
            await trial.flows()
            await restore_redis(world, saved)
            await trial.flows()
        await trial.holds()
        # Once more, and nobody writes.
        await restore_redis(world, saved)
        await is_right_soon(world)
    reader.check(players)


@pytest.mark.promise(row=12)
async def test_postgres_may_go_back_in_time(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await everyone_plays(trial, 30)
    await trial.holds()
    saved = await save_postgres(world)
    async with reading(world) as reader:
        lost = Load(world)
        lost.players = [*load.players, *await lost.add_players(10)]
        await lost.play(200)
        await lost.resolve()
        await flush_redis(world)  # a rebuild takes an epoch of which the backup knows nothing
        await all_ready(world)
        await reader.until(lambda one: not one.is_stale, "an answer from Redis after FLUSHALL")
        await restore_postgres(world, saved)
        await is_right_soon(world)
        await load.play(200)
        await trial.holds()
        versions = [one.version for one in reader.seen if not one.reason]
        assert versions == sorted(versions)


async def is_right(world: World) -> bool:
    """Whether every open board is served from Redis, and is as Postgres has it."""
    return await world.is_shown() and (await verify(world.pool, world.view)).differences == ()


async def is_right_soon(world: World) -> None:
    """Checks that the boards are as Postgres is, RIGHT_S after a server came back at most, and without a new write."""
    started = time.monotonic()
    await eventually(lambda: is_right(world), RIGHT_S * BUSY, "boards as Postgres has them")
    world.timeline.note(f"{time.monotonic() - started:.2f} s: boards are as Postgres has them")
