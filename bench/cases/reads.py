"""Reads through the gateway: the top 10 while the board changes, and the rank of one player of a million."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import cache

from bench import fill, h2, load
from bench.figure import Figure, Goal
from bench.stage import CROWD, REPEATS, Repeat, Stage, cpu_figure, rate_figures, ratio_figure, repeat
from scoreboard.v1 import leaderboard_pb2

TOP_GOAL, TOP_JSON_GOAL, RANK_GOAL = Goal(0.2), Goal(0.18), Goal(0.4)
UNCHANGED_GOAL = Goal(1.0)  # beside a whole answer
READS, IN_FLIGHT = 20_000, 64
CHANGES_PER_S, ALONE_S = 20, 10


async def top(stage: Stage) -> list[Figure]:
    """Top 10 by gRPC, 64 in flight, while the board changes 20 times a second."""
    is_top, target = cache(load.is_top), stage.mesh.gateway  # one answer goes to many: each is looked at once

    async def read(count: int) -> load.Answers:
        return await load.send(target, load.tops(count), IN_FLIGHT, is_top)

    measured = await _amid_changes(stage, read, lambda: is_top.cache_info().currsize)
    return [
        cpu_figure("top 10 by gRPC", measured),
        ratio_figure("top 10 by gRPC", measured, await stage.empty_us(), TOP_GOAL),
        *rate_figures("top 10 by gRPC", measured),
    ]


async def top_json(stage: Stage) -> list[Figure]:
    """The same by JSON; and the answer 304 to clients that have the board as it is."""
    is_top, target = cache(load.is_top_json), stage.mesh.gateway

    async def read(count: int) -> load.Answers:
        return await load.send_json(target, load.tops_json(count), IN_FLIGHT, is_top)

    async def read_unchanged(count: int) -> load.Answers:
        requests = load.tops_json(count, await load.etag(target))
        return await load.send_json(target, requests, IN_FLIGHT, load.is_unchanged)

    measured = await _amid_changes(stage, read, lambda: is_top.cache_info().currsize)
    whole, unchanged = [], []
    for _ in range(REPEATS):  # in turn, on a board that stands still: what else the machine does then hits both
        whole += await repeat(stage.mesh, read, READS, repeats=1)
        unchanged += await repeat(stage.mesh, read_unchanged, READS, repeats=1)
    beside = [same.total_us / each.total_us for each, same in zip(whole, unchanged, strict=True)]
    return [
        cpu_figure("top 10 by JSON", measured),
        ratio_figure("top 10 by JSON", measured, await stage.empty_us(), TOP_JSON_GOAL),
        *rate_figures("top 10 by JSON", measured),
        cpu_figure("top 10 by JSON, 304", unchanged),
        Figure("top 10 by JSON, 304: CPU beside a whole answer", beside, "× whole", UNCHANGED_GOAL),
        *rate_figures("top 10 by JSON, 304", unchanged),
    ]


async def rank(stage: Stage) -> list[Figure]:
    """The rank of a player of 1,000,000, each time another's, by gRPC, 64 in flight."""

    filled = await stage.crowded()

    def is_placed(message: bytes) -> int:
        answer = leaderboard_pb2.GetRankResponse.FromString(message)
        return (answer.rank, answer.players) == (fill.rank(answer.user_id, CROWD), CROWD)

    async def read(count: int) -> load.Answers:
        user_ids = [fill.user_id(number) for number in random.choices(range(1, CROWD + 1), k=count)]
        return await load.send(filled.gateway, load.ranks(user_ids), IN_FLIGHT, is_placed)

    measured = await repeat(filled, read, READS)
    return [
        cpu_figure("rank of 1,000,000", measured),
        ratio_figure("rank of 1,000,000", measured, await stage.empty_us(), RANK_GOAL),
        *rate_figures("rank of 1,000,000", measured),
    ]


async def _amid_changes(
    stage: Stage, read: Callable[[int], Awaitable[load.Answers]], boards_seen: Callable[[], int]
) -> list[Repeat]:
    """Repeats reads while updates change the board, and takes off what these cost when nobody reads.

    What an idle mesh uses stays in, as in other cases. boards_seen: different answers so far.
    """
    await load.send(stage.mesh.gateway, load.updates(await stage.sessions(), IN_FLIGHT), IN_FLIGHT, load.is_applied)
    change_us = await _change_us(stage)
    changes_a_read = []

    async def run(count: int) -> load.Answers:
        has_read, seen = asyncio.Event(), boards_seen()
        changing = asyncio.create_task(_change(stage, lambda: not has_read.is_set()))
        answers = await read(count)
        has_read.set()
        changes = (await changing).operations
        assert boards_seen() - seen > changes / 4, f"the readers saw {boards_seen() - seen} of {changes} changes"
        changes_a_read.append(changes / answers.operations)
        return answers

    measured = await repeat(stage.mesh, run, READS)
    return [less(one, change_us, share) for one, share in zip(measured, changes_a_read[1:], strict=True)]


async def _change_us(stage: Stage) -> dict[str, float]:
    """Returns what a change costs by process: the CPU while there are changes alone, less that of an idle mesh."""
    start = stage.mesh.cpu_s()
    await asyncio.sleep(ALONE_S)
    idle = stage.mesh.cpu_s()
    left = iter(range(CHANGES_PER_S * ALONE_S))
    changes = (await _change(stage, lambda: next(left, None) is not None)).operations
    end = stage.mesh.cpu_s()
    return {name: (end[name] - 2 * idle[name] + start[name]) / changes * 1e6 for name in end}


async def _change(stage: Stage, goes_on: Callable[[], bool]) -> load.Answers:
    """Lets the leader score at the pace of the cases."""
    leader = (await stage.sessions())[:1]

    def updates() -> Iterator[h2.Request]:
        while goes_on():
            yield from load.updates(leader, 1)

    return await load.pace(stage.mesh.gateway, updates(), CHANGES_PER_S, load.is_applied)


def less(measured: Repeat, us: dict[str, float], times: float) -> Repeat:
    """Returns the repeat without what happened so many times an operation and costs so much by process."""
    return replace(measured, cpu_us={name: cpu - us[name] * times for name, cpu in measured.cpu_us.items()})
