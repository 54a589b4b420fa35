"""Memory: what an entry takes in Redis, and whether the services grow while they work."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Callable, Iterator, Sequence

from redis.asyncio import Redis

from bench import h2, load
from bench.figure import Figure, Goal
from bench.mesh import Mesh, is_service
from bench.stage import PLAYERS, Stage
from bench.watching import watchers
from board import keys
from board.entry import BoardKey
from scoreboard.local import state
from scoreboard.v1 import auth_pb2

ENTRY_GOAL = Goal(230)
LOAD_S, HOUR_S = 300, 3600  # by default, and each of HOURS (in the environment)
WARM_UP_SHARE = 0.2  # caches of tokens and statements fill, arenas of memory are opened
SAMPLE_S = 2.0
FULL_UPDATES, IN_FLIGHT = 5_000, 64
READS_PER_S, WATCHERS = 100, 100
NEW_PLAYERS_S = 240  # an access token lives ten minutes
FLAT_SHARE, FLAT_MB = 0.02, 1.0


async def memory(stage: Stage) -> list[Figure]:
    """RSS of each service at half load over five minutes (HOURS=1: an hour): updates, reads, watchers, sign-ups.

    Flat is a service whose median of the second half lies at most 2 % and 1 MB above that of the first, the first fifth
    left out. With 100 MB and 1,000 updates a second that is 25 bytes an update in five minutes, and 2 in an hour: less
    than any object that could be kept of one.
    """
    target, seconds = stage.mesh, _seconds()
    sessions = await stage.sessions()
    per_second = await _full_rate(target, sessions) / 2
    async with watchers("websocket", int(target.gateway.rpartition(":")[2]), WATCHERS) as crowd:
        await crowd.settled()
        working = asyncio.create_task(_work(target, sessions, per_second, seconds))
        samples = await _sample(target, working)
        await crowd.tally()  # raises when one of them was not served well
    settled = samples[round(len(samples) * WARM_UP_SHARE) :]
    medians = {name: statistics.median(each[name] for each in settled) for name in settled[0]}
    total = Figure("memory of the services at half load", [sum(medians.values())], "MB", parts=medians)
    return [total, *(growth(name, [each[name] for each in settled]) for name in medians)]


def _seconds() -> float:
    return float(os.environ.get("HOURS") or 0) * HOUR_S or LOAD_S


async def _full_rate(target: Mesh, sessions: list[auth_pb2.Session]) -> float:
    """Returns how many updates a second the mesh takes at most."""
    for _ in range(2):  # the first warms up
        answers = await load.send(target.gateway, load.updates(sessions, FULL_UPDATES), IN_FLIGHT, load.is_applied)
    return answers.operations / answers.wall_s


async def _work(target: Mesh, sessions: list[auth_pb2.Session], per_second: float, seconds: float) -> None:
    """Keeps the mesh busy for so long. Raises AssertionError when a call failed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    def repeated(make: Callable[[], list[h2.Request]]) -> Iterator[h2.Request]:
        while loop.time() < until:
            yield from make()

    async def sign_up() -> None:
        nonlocal sessions
        while (left_s := until - loop.time()) > 0:
            await asyncio.sleep(min(left_s, NEW_PLAYERS_S))
            sessions = await load.sign_up(target.gateway, PLAYERS)

    updates = repeated(lambda: load.updates(sessions, len(sessions)))
    await asyncio.gather(
        load.pace(target.gateway, updates, per_second, load.is_applied),
        load.pace(target.gateway, repeated(lambda: load.tops(1)), READS_PER_S, load.is_top),
        sign_up(),
    )


async def _sample(target: Mesh, working: asyncio.Task[None]) -> list[dict[str, float]]:
    """Returns the services' RSS in MB, by name, each few seconds while they work."""
    samples = []
    while not working.done():
        rss = target.rss_bytes()
        samples.append({name: rss[name] / 1e6 for name in rss if is_service(name)})
        await asyncio.wait({working}, timeout=SAMPLE_S)
    working.result()
    return samples


def growth(name: str, rss_mb: Sequence[float]) -> Figure:
    """Returns how much higher the median of a service's second half of samples lies than that of its first."""
    middle = len(rss_mb) // 2
    before, after = statistics.median(rss_mb[:middle]), statistics.median(rss_mb[middle:])
    return Figure(
        f"memory of {name}: growth between halves", [after - before], "MB", Goal(before * FLAT_SHARE + FLAT_MB)
    )


async def entry_bytes(target: Mesh, entries: int) -> Figure:
    """Returns what an entry of the board `all` takes in Redis, which has so many: its place and its version."""
    async with target.postgres() as owner:
        row = await owner.fetchrow(
            "SELECT board_id, period_start FROM board_periods JOIN boards USING (board_id) WHERE name = 'all'"
        )
    assert row is not None
    board = BoardKey(row["board_id"], row["period_start"])
    async with Redis.from_url(state.redis_url(target.data)) as redis:
        places, versions = keys.places(board), keys.versions(board)
        assert await redis.zcard(places) == await redis.hlen(versions) == entries
        used = [await redis.memory_usage(key, samples=0) or 0 for key in (places, versions)]
    return Figure(f"memory in Redis of an entry of {entries:,}", [sum(used) / entries], "B", ENTRY_GOAL)
