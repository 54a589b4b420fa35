"""Workers that die, at random moments and at each window of their work."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from tests.fault.faults import arm
from tests.fault.process import Process
from tests.fault.trial import Trial
from tests.gate import Direction
from tests.sizes import sized
from tests.waiting import eventually

IN_HAND, IN_HAND_S = sized((4_000, 6.0), (20_000, 15.0))  # so many updates at once: one by one they take twice as long
SLOW_S = 0.05  # that Postgres's answers take, so that a worker has something in hand most of the time
WINDOWS = ("after_locks", "before_commit", "after_commit", "after_redis", "after_reply", "before_ack")


@pytest.mark.promise(row=1)
async def test_a_worker_crash_is_harmless(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(50)
    for _ in range(sized(5, 50)):
        victim = random.choice(world.workers)
        link = world.gate(victim.name, "postgres")
        async with load.playing(load.play_batches(400, at_once=8, rate_per_s=250)):
            link.delay(SLOW_S, Direction.BACK)
            await asyncio.sleep(random.uniform(0.1, 0.9))
            await victim.kill()
            await link.heal()
            await victim.start()
    await trial.holds()
    returns = sum(len(worker.logged('"event":"back"')) for worker in world.workers)
    world.timeline.note(f"work came back {returns} times")
    assert returns, "no kill met work in hand"


@pytest.mark.promise(row=1)
async def test_what_dying_workers_had_in_hand_is_settled_in_time(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(50)
    await load.play_batches(500, size=500)
    world.processes["postgres"].freeze()
    await load.play_batches(IN_HAND, size=500, at_once=10)  # each call takes its 2 s
    await asyncio.gather(*(worker.kill() for worker in world.workers))
    world.processes["postgres"].thaw()
    await asyncio.gather(*(worker.start() for worker in world.workers))
    await trial.holds(settled_s=IN_HAND_S)


@pytest.mark.promise(row=2)
async def test_every_crash_window_is_safe(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(5)
    windows = random_windows(sized(1, 20))
    async with load.running(rate_per_s=60):
        for pair in zip(windows[::2], windows[1::2], strict=True):  # so that both start again at once
            for deaths, window in enumerate(pair, start=1):
                arm(world, f"worker.{window}")
                await eventually(partial(are_dead, world.workers, deaths), 20, f"a death at {window}")
                world.timeline.note(f"death at {window}")
            await asyncio.gather(*(worker.start() for worker in world.workers))
            await trial.flows()
    await trial.holds()


@pytest.mark.promise(row=2)
async def test_a_worker_that_was_given_up_and_comes_back_harms_nothing(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(5)
    for window in random_windows(sized(1, 20)):
        arm(world, f"worker.{window}", "SIGSTOP")
        async with load.running(rate_per_s=60):
            victim = await eventually(lambda: stopped(world.workers), 20, f"a stop at {window}")
            assert victim is not None
            # As after a missed heartbeat or the consumer timeout: what it has in hand goes to the other worker.
            world.gate(victim.name, "rabbitmq").cut()
            await asyncio.sleep(random.uniform(0.0, 0.5))
            victim.thaw()
            await trial.flows()
    await trial.holds()


def random_windows(times: int) -> list[str]:
    """Returns each window so many times, in random order."""
    return random.sample(WINDOWS * times, len(WINDOWS) * times)


def are_dead(workers: list[Process], count: int) -> bool:
    """Whether so many of the workers have ended."""
    return sum(not worker.is_running for worker in workers) == count


def stopped(workers: list[Process]) -> Process | None:
    """Returns a worker that is stopped."""
    return next((worker for worker in workers if worker.is_frozen), None)
