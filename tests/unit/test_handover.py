"""score_svc/handover.py: which jobs share a message, how long they wait, and what the broker's word means."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from board.job_pb2 import Job, Jobs
from mesh.rabbitmq import DIRECT_REPLY_TO, BrokerAway, BrokerError, QueueFull, Unroutable
from mesh.refusal import Refused
from score_svc import handover
from score_svc.handover import HandOver
from score_svc.results import OnWay
from tests.waiting import eventually


class World:
    """A hand-over whose messages a test reads and whose confirms it gives."""

    def __init__(self) -> None:
        self.messages: list[list[int]] = []  # sizes of the jobs' texts, a list a message
        self.sent_at: list[float] = []
        self.error: BrokerError | None = None
        self.on_way = 0
        self.failed: list[tuple[OnWay, Refused]] = []
        self.hand_over = HandOver(
            self, lambda on_way, refused: self.failed.append((on_way, refused)), lambda: self.on_way
        )

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, *, reply_to: str | None = None, timeout_s: float = 2.0
    ) -> None:
        assert (exchange, routing_key, reply_to) == ("scoreboard.updates", "scoreboard.updates", DIRECT_REPLY_TO)
        self.sent_at.append(asyncio.get_running_loop().time())
        self.messages.append([len(job.text) for job in Jobs.FromString(body).jobs])
        if self.error is not None:
            raise self.error

    def send(self, count: int = 1, text_bytes: int = 0) -> list[OnWay]:
        made = []
        for number in range(count):
            self.on_way += 1
            made.append(OnWay(UUID(int=number)))
            self.hand_over.send(Job(text="x" * text_bytes), made[-1])
        return made

    @property
    def sizes(self) -> list[int]:
        return [len(message) for message in self.messages]


async def test_jobs_of_one_turn_share_a_message_and_its_confirm() -> None:
    world = World()
    made = world.send(100)
    await world.hand_over.close()
    assert world.sizes == [100]
    assert all(on_way.is_confirmed for on_way in made)


async def test_an_update_that_is_alone_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "WAIT_S", 3600.0)
    world = World()
    world.send()
    for _ in range(3):  # turns of the loop, not time
        await asyncio.sleep(0)
    assert world.sizes == [1]


async def test_others_on_their_way_make_it_wait_for_company_but_not_for_long() -> None:
    world = World()
    world.on_way = 3
    started = asyncio.get_running_loop().time()
    world.send()
    await eventually(lambda: world.messages, 10, "the message")
    assert world.sent_at[0] - started >= handover.WAIT_S * 0.9


async def test_what_gathered_goes_when_the_results_of_all_others_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "WAIT_S", 3600.0)
    world = World()
    world.on_way = 3
    world.send(2)
    world.on_way -= 2
    world.hand_over.on_results()
    await asyncio.sleep(0)
    assert world.sizes == [], "one is still on its way"
    world.on_way -= 1
    world.hand_over.on_results()
    await asyncio.sleep(0)
    assert world.sizes == [2]


async def test_an_envelope_has_at_most_500_jobs() -> None:
    world = World()
    world.send(1201)
    await world.hand_over.close()
    assert world.sizes == [500, 500, 201]


async def test_an_envelope_has_a_bounded_size() -> None:
    world = World()
    world.send(10, text_bytes=handover.BYTES_MAX // 4)
    await world.hand_over.close()
    assert world.sizes == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(BrokerAway(""), "BROKER_AWAY"), (Unroutable(""), "BROKER_AWAY"), (QueueFull(""), "QUEUE_FULL")],
)
async def test_without_a_confirm_each_job_is_refused_with_a_delay(error: BrokerError, reason: str) -> None:
    world = World()
    world.error = error
    made = world.send(3)
    await world.hand_over.close()
    assert [on_way for on_way, _ in world.failed] == made
    assert {(refused.reason, refused.retry_after_s) for _, refused in world.failed} == {(reason, 1.0)}
    assert not any(on_way.is_confirmed for on_way in made)
