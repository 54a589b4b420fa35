"""score_svc dies, or loses its broker, between a publish and its answer."""

from __future__ import annotations

import asyncio

import pytest

from board import queues
from tests.fault.checker import Told
from tests.fault.faults import arm
from tests.fault.trial import Trial
from tests.gate import Direction
from tests.waiting import eventually

CALLS = 20


@pytest.mark.promise(row=4)
async def test_score_svc_may_die_between_confirm_and_answer(trial: Trial) -> None:
    world, load = trial.world, trial.load
    await load.add_players(5)
    score_svc = world.processes["score_svc"]
    for is_batch in (False, True, False):
        arm(world, "score_svc.after_confirm")
        before = load.told[Told.UNKNOWN]
        await (load.play_batches(CALLS, size=CALLS) if is_batch else load.play(CALLS, at_once=CALLS))
        await score_svc.ended()
        assert load.told[Told.UNKNOWN] > before
        await score_svc.start()
        await load.resolve()
        assert set(load.told) == {Told.APPLIED}
    verdict = await trial.holds()
    assert len(verdict.recovered) >= 3


@pytest.mark.promise(row=5)
@pytest.mark.parametrize("is_cut", [False, True], ids=["silent", "cut"])
async def test_no_ok_before_a_confirm(trial: Trial, is_cut: bool) -> None:
    world, load = trial.world, trial.load
    await load.add_players(5)
    for worker in world.workers:  # a ledger row would be as good as a confirm
        await worker.kill()
    gate = world.gate("score_svc", "rabbitmq")
    gate.freeze(Direction.BACK)
    world.timeline.fault("nothing comes back from the broker")
    async with load.playing(load.play(CALLS, at_once=CALLS)):

        async def has_arrived() -> bool:
            return (await world.queued())[queues.UPDATES] > 0

        await eventually(has_arrived, what="the published updates")
        if is_cut:
            gate.cut()
    trial.answered_in_time()
    assert {answer.reason for answer in load.answers} == {"BROKER_AWAY"}
    await gate.heal()
    await asyncio.gather(*(worker.start() for worker in world.workers))
    verdict = await trial.holds()
    assert len(verdict.recovered) == CALLS
