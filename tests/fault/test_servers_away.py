"""RabbitMQ and Postgres die, freeze, or refuse to take more; Redis freezes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

import pytest

from board import queues
from tests.fault.checker import Told
from tests.fault.faults import alarm
from tests.fault.process import Process
from tests.fault.trial import Trial
from tests.fault.world import SERVERS, WORKERS
from tests.gate import Direction, Gate
from tests.sizes import sized
from tests.waiting import eventually

DRAINED_S = 60.0
NOTICED_S = 2.0  # the services' own timers with a server
LINK_BREAKS: dict[str, Callable[[Gate], None]] = {
    "cut": Gate.cut,
    "frozen": Gate.freeze,
    "slow": lambda gate: gate.delay(0.3),
    "half closed by the service": lambda gate: gate.half_close(Direction.ONWARD),
    "half closed by the server": lambda gate: gate.half_close(Direction.BACK),
    "silent": lambda gate: gate.freeze(Direction.BACK),
}
PAUSES = ("frozen", "silent")  # nothing but a pause, unless they outlast the timers


@pytest.mark.promise(row=3)
async def test_the_broker_s_confirm_is_kept(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(20)
    rabbitmq = world.processes["rabbitmq"]
    gates = [world.gate(worker, "rabbitmq") for worker in WORKERS]

    async def has_much_to_lose() -> bool:
        return (await world.queued())[queues.UPDATES] > 20

    async with load.running(rate_per_s=40, at_once=200):
        for _ in range(sized(1, 20)):
            await trial.flows()
            for gate in gates:
                await gate.shut()
            await eventually(has_much_to_lose, what="updates that no worker takes")
            await asyncio.sleep(random.uniform(0.0, 0.3))
            await rabbitmq.kill()
            for gate in gates:
                await gate.open()
            await rabbitmq.start()
        await trial.flows()
    trial.answered_in_time()
    await trial.holds()


@pytest.mark.promise(row=8)
@pytest.mark.parametrize("kind", sized(["memory"], ["memory", "disk"]))
async def test_a_broker_alarm_fails_fast(trial: Trial, kind: str) -> None:
    world, load = trial.world, trial.load
    await load.add_players(20)
    async with load.running(rate_per_s=50, at_once=200):
        await trial.flows()
        async with alarm(world, kind):
            await load.play_batches(sized(2_000, 20_000), at_once=8)
        await trial.flows()
    trial.answered_in_time()
    assert load.told[Told.UNKNOWN] >= sized(1_000, 10_000)
    await trial.holds()


@pytest.mark.promise(row=9)
async def test_a_frozen_server_is_noticed(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(20)
    score_svc = world.processes["score_svc"]
    async with load.running(rate_per_s=40, at_once=200):
        for name in ("rabbitmq", "redis", "postgres"):
            await trial.flows()
            world.processes[name].freeze()
            await asyncio.sleep(sized(5, 60))
            await eventually(partial(is_as_ready, score_svc, name != "rabbitmq"), what=f"score_svc without {name}")
            world.processes[name].thaw()
        await trial.flows()
    trial.answered_in_time()
    await trial.holds()


async def is_as_ready(process: Process, is_wanted: bool) -> bool:
    return await process.is_ready() == is_wanted


@pytest.mark.promise(row=9)
async def test_any_link_may_break(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(20)
    services = ("score_svc", *WORKERS)
    breaks = [(service, server, how) for service in services for server in SERVERS for how in LINK_BREAKS]
    async with load.running(rate_per_s=40, at_once=200):
        for service, server, how in random.sample(breaks, sized(6, len(breaks))):
            world.timeline.fault(f"the link from {service} to {server}: {how}")
            gate = world.gate(service, server)
            LINK_BREAKS[how](gate)
            least_s = NOTICED_S + 0.5 if how in PAUSES else 0.1
            await asyncio.sleep(random.uniform(least_s, max(least_s, sized(0.5, 3.0))))
            await gate.heal()
            await trial.flows()
    trial.answered_in_time()
    await trial.holds()


@pytest.mark.promise(row=10)
async def test_postgres_may_go_away(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(20)
    postgres = world.processes["postgres"]
    async with load.running(rate_per_s=40, at_once=200):
        await trial.flows()
        await postgres.stop()
        await asyncio.sleep(sized(5, 60))
        await postgres.start()
        await trial.flows()
        for _ in range(sized(1, 10)):
            await asyncio.sleep(random.uniform(0.0, 1.0))
            await postgres.kill()
            await postgres.start()
        await trial.flows()
    trial.answered_in_time()
    await trial.holds(settled_s=DRAINED_S)
    assert not [line for worker in world.workers for line in worker.logged('"event":"back"')]
