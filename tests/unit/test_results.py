"""score_svc/results.py: who is told what, and when the ledger is asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID

import pytest

from board.job_pb2 import Result, Results
from mesh.refusal import Refused
from score_svc.handover import broker_away
from score_svc.ledger import LedgerAway, Row
from score_svc.results import ResultDesk
from tests.waiting import eventually

A, B, C = (UUID(int=n) for n in (1, 2, 3))


def result(key: UUID) -> Result:
    return Result(update_id=key.bytes, score_after=50)


class World:
    """A desk whose ledger is a dictionary that a test fills; `asked` are the questions, `settled` what was kept."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Row] = {}
        self.is_away = False
        self.asked: list[list[UUID]] = []
        self.settled: list[Result] = []
        self.desk = ResultDesk(self._ask, self.settled.extend)

    async def _ask(self, keys: Sequence[UUID]) -> Mapping[UUID, Row]:
        self.asked.append(list(keys))
        if self.is_away:
            raise LedgerAway
        return {key: self.rows[key] for key in keys if key in self.rows}

    def record(self, key: UUID) -> None:
        self.rows[key] = Row(result(key), "u_ada", "")

    def reply(self, *keys: UUID) -> None:
        self.desk.on_reply(Results(results=[result(key) for key in keys]).SerializeToString())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.desk.start()
    yield made
    await made.desk.close()


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


async def test_a_reply_answers_all_who_wait_for_the_update_and_is_kept(world: World) -> None:
    on_way = world.desk.open(A)
    waits = [world.desk.wait(on_way, soon()) for _ in range(3)]
    world.reply(A, B)
    assert [await wait for wait in waits] == [result(A)] * 3
    assert world.settled == [result(A), result(B)]
    assert world.desk.count == 0


async def test_whoever_asks_after_the_reply_is_told_at_once(world: World) -> None:
    on_way = world.desk.open(A)
    world.reply(A)
    assert await world.desk.wait(on_way, soon()) == result(A)


async def test_a_lost_reply_is_healed_by_one_question_for_all(world: World) -> None:
    opened = [world.desk.open(key) for key in (A, B, C)]
    for on_way in opened:  # due at one look, however long it took to open them
        on_way.heal_at = opened[-1].heal_at
    waits = [world.desk.wait(on_way, soon()) for on_way in opened]
    for key in (A, B, C):
        world.record(key)
    assert [await wait for wait in waits] == [result(key) for key in (A, B, C)]
    assert world.asked == [[A, B, C]]
    assert {bytes(kept.update_id) for kept in world.settled} == {key.bytes for key in (A, B, C)}


async def test_a_ledger_without_the_row_or_away_is_asked_again_more_slowly(world: World) -> None:
    world.is_away = True
    started = time.monotonic()
    wait = world.desk.wait(world.desk.open(A), soon())
    await eventually(lambda: len(world.asked) >= 2, what="two questions")
    assert time.monotonic() - started >= 0.7  # 250 ms, then 500
    world.is_away = False
    world.record(A)
    assert await wait == result(A)


async def test_each_call_has_its_own_deadline(world: World) -> None:
    on_way = world.desk.open(A)
    short, long = world.desk.wait(on_way, soon(0.1)), world.desk.wait(on_way, soon())
    assert await short is None
    world.reply(A)
    assert await long == result(A)


async def test_an_update_that_no_one_waits_for_any_more_is_forgotten(world: World) -> None:
    wait = world.desk.wait(world.desk.open(A), soon(0.05))
    assert await wait is None
    assert world.desk.find(A) is None
    world.reply(A)
    assert world.settled == [result(A)]


async def test_a_call_that_left_is_no_hindrance(world: World) -> None:
    on_way = world.desk.open(A)
    left, stayed = world.desk.wait(on_way, soon()), world.desk.wait(on_way, soon())
    left.cancel()
    world.reply(A)
    assert await stayed == result(A)


async def test_a_refused_hand_over_is_told_to_all_and_later_ones(world: World) -> None:
    on_way = world.desk.open(A)
    wait = world.desk.wait(on_way, soon())
    world.desk.fail(on_way, broker_away())
    for each in (wait, world.desk.wait(on_way, soon())):
        with pytest.raises(Refused, match="BROKER_AWAY"):
            await each
    assert world.desk.find(A) is None


async def test_a_failure_that_comes_after_the_result_changes_nothing(world: World) -> None:
    on_way = world.desk.open(A)
    wait = world.desk.wait(on_way, soon())
    world.reply(A)
    world.desk.fail(on_way, broker_away())
    assert await wait == result(A)


async def test_a_reply_that_cannot_be_read_is_dropped(world: World) -> None:
    wait = world.desk.wait(world.desk.open(A), soon())
    world.desk.on_reply(b"\xff\xff\xff")
    world.reply(A)
    assert await wait == result(A)
