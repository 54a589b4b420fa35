"""Updates through the gateway: one a call, in batches, and the empty call that they are held against."""

from __future__ import annotations

import asyncio
import statistics

from bench import load
from bench.figure import Figure, Goal
from bench.stage import Repeat, Stage, cpu_figure, rate_figures, ratio_figure, repeat

UNARY_GOAL, UNARY_P50_GOAL, JSON_GOAL = Goal(0.7), Goal(10.0), Goal(1.0)
BATCH_TIMES_GOAL, BATCH_RATE_GOAL = Goal(10.0, is_most=False), Goal(20_000, is_most=False)
BATCH_SIZE, BATCHES_IN_FLIGHT = 100, 8


async def empty(stage: Stage) -> list[Figure]:
    """An empty call to grpc.aio behind the same gateway: the yardstick of the ratios."""
    return [Figure("empty call: CPU", [await stage.empty_us()], "µs")]


async def unary(stage: Stage) -> list[Figure]:
    """One update a gRPC call, 64 in flight: nonce, signature, limit, queue, ledger, three boards, reply."""
    measured = await _unary(stage, 10_000, 64)
    return [
        cpu_figure("unary update", measured),
        ratio_figure("unary update", measured, await stage.empty_us(), UNARY_GOAL),
        *rate_figures("unary update", measured, UNARY_P50_GOAL),
    ]


async def unary512(stage: Stage) -> list[Figure]:
    """The same, 512 in flight."""
    measured = await _unary(stage, 20_000, 512)
    return [cpu_figure("unary update, 512 in flight", measured), *rate_figures("unary update, 512 in flight", measured)]


async def json(stage: Stage) -> list[Figure]:
    """One update a JSON call, 64 in flight."""
    target, sessions = stage.mesh.gateway, await stage.sessions()

    async def run(count: int) -> load.Answers:
        return await load.send_json(target, load.updates_json(sessions, count), 64, load.is_applied_json)

    measured = await repeat(stage.mesh, run, 10_000)
    return [
        cpu_figure("update by JSON", measured),
        ratio_figure("update by JSON", measured, await stage.empty_us(), JSON_GOAL),
        *rate_figures("update by JSON", measured),
    ]


async def batch(stage: Stage) -> list[Figure]:
    """Batches of 100 of a trusted client, 8 in flight; an operation is one update."""
    token, user_ids = await stage.mesh.client_token(), [session.user_id for session in await stage.sessions()]
    channels = load.channels(stage.mesh.gateway)

    async def run(count: int) -> load.Answers:
        return await load.drive(load.batches(channels, token, user_ids, count, BATCH_SIZE), BATCHES_IN_FLIGHT)

    measured = await repeat(stage.mesh, run, 400)
    single = statistics.median(one.per_second for one in await _unary(stage, 5_000, 64))
    await asyncio.gather(*(channel.close() for channel in channels))
    rates = [one.per_second for one in measured]
    return [
        cpu_figure("update in a batch of 100", measured),
        Figure("update in a batch of 100: rate", rates, "/s", BATCH_RATE_GOAL),
        Figure("update in a batch of 100: rate beside unary", [r / single for r in rates], "× unary", BATCH_TIMES_GOAL),
    ]


async def _unary(stage: Stage, count: int, in_flight: int) -> list[Repeat]:
    target, sessions = stage.mesh.gateway, await stage.sessions()

    async def run(count: int) -> load.Answers:
        return await load.send(target, load.updates(sessions, count), in_flight, load.is_applied)

    return await repeat(stage.mesh, run, count)
