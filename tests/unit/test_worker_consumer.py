"""A worker with a backlog commits one batch while the one before is shown, and acks keep the order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.job_pb2 import Job, Jobs
from mesh.rabbitmq import Consumer, Delivery
from tests.waiting import eventually
from worker.batch import Asked
from worker.consumer import Feeder
from worker.mover import DeliveryLost, Mover
from worker.settle import Settler

JOBS_MAX = 5


class Inbox:
    """Messages as a consumer hands them out, and what was acked."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.waiting: deque[Delivery] = deque(
            Delivery(body, is_redelivered=False, delivery_count=0, reply_to=None, message_id="", tag=tag)
            for tag, body in enumerate(bodies, start=1)
        )
        self.acked: list[int] = []

    async def get(self) -> Delivery:
        await asyncio.Event().wait()  # what comes later is found waiting
        raise AssertionError

    def get_waiting(self, count_max: int) -> list[Delivery]:
        return [self.waiting.popleft() for _ in range(min(count_max, len(self.waiting)))]

    def is_held(self, delivery: Delivery) -> bool:
        return True

    def ack_up_to(self, delivery: Delivery) -> None:
        self.acked.append(delivery.tag)


@dataclass
class Stage:
    """A batch that was committed, by the number of its first job."""

    number: int
    must_move: bool


class Line:
    """Settles nothing, and notes what it was asked for; `showing` holds up whoever is shown.

    moving, failing, lost: numbers of the batches that have jobs to be moved, that fail while they are shown, and that
    the broker takes back meanwhile.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []  # (what, number of the batch's first job)
        self.moving: set[int] = set()
        self.failing: set[int] = set()
        self.lost: set[int] = set()
        self.showing = asyncio.Event()
        self.showing.set()

    async def commit(self, asked: Sequence[Asked]) -> Stage:
        await asyncio.sleep(0)
        number = int(asked[0].job.user_id)
        self.events.append(("committed", number))
        return Stage(number, number in self.moving)

    async def finish(self, batch: Stage, is_held: Callable[[], bool]) -> None:
        await self.showing.wait()
        if batch.number in self.failing:
            raise RuntimeError(f"batch {batch.number}")
        if batch.number in self.lost:
            raise DeliveryLost
        self.events.append(("shown", batch.number))

    def of(self, what: str) -> list[int]:
        return [number for event, number in self.events if event == what]


def messages(sizes: Collection[int]) -> list[bytes]:
    """Messages of so many jobs, which are numbered through; a job takes about 100 bytes."""
    numbers = iter(range(sum(sizes)))
    return [
        Jobs(jobs=[Job(user_id=str(next(numbers)), text="x" * 95) for _ in range(size)]).SerializeToString()
        for size in sizes
    ]


class Feeding:
    """A feeder at work on these messages."""

    def __init__(self, sizes: Collection[int]) -> None:
        self.inbox, self.line, self._stopping = Inbox(messages(sizes)), Line(), asyncio.Event()
        feeder = Feeder(cast(Settler, self.line), cast(Mover, None), self._stopping)
        self._feed: Callable[[], Any] = lambda: feeder.feed_updates(cast(Consumer, self.inbox), jobs_max=JOBS_MAX)

    async def __aenter__(self) -> Feeding:
        self.task = asyncio.create_task(self._feed())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.line.showing.set()
        self._stopping.set()
        await asyncio.wait({self.task})


async def turns() -> None:
    """Lets whatever can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_with_a_backlog_the_next_batch_is_committed_while_one_is_shown() -> None:
    async with Feeding([JOBS_MAX] * 4) as feeding:
        feeding.line.showing.clear()
        await eventually(lambda: feeding.line.of("committed") == [0, 5], what="the second batch committed")
        assert (feeding.line.of("shown"), feeding.inbox.acked) == ([], [])
        assert len(feeding.inbox.waiting) == 2, "a third batch is in hand"
        feeding.line.showing.set()
        await eventually(lambda: feeding.inbox.acked == [1, 2, 3, 4], what="every batch acked")


async def test_one_with_jobs_to_move_is_done_with_first() -> None:
    async with Feeding([JOBS_MAX] * 4) as feeding:
        feeding.line.moving = {0, 5}
        feeding.line.showing.clear()
        await eventually(lambda: feeding.line.of("committed") == [0], what="the first batch committed")
        await turns()
        assert feeding.line.of("committed") == [0]
        feeding.line.showing.set()
        await eventually(lambda: feeding.inbox.acked == [1, 2, 3, 4], what="every batch acked")
    assert [event for event in feeding.line.events if event[1] < 10] == [
        ("committed", 0),
        ("shown", 0),
        ("committed", 5),
        ("shown", 5),
    ]


async def test_one_that_the_broker_took_back_is_not_acked_and_the_next_is() -> None:
    async with Feeding([JOBS_MAX] * 3) as feeding:
        feeding.line.lost = {0}
        await eventually(lambda: feeding.inbox.acked == [2, 3], what="the others acked")


async def test_one_that_fails_ends_the_feeder_and_nothing_after_it_is_acked() -> None:
    async with Feeding([JOBS_MAX] * 4) as feeding:
        feeding.line.failing = {5}
        await asyncio.wait({feeding.task})
        with pytest.raises(RuntimeError, match="batch 5"):
            feeding.task.result()
        assert feeding.inbox.acked == [1]
        assert feeding.line.of("committed") == [0, 5, 10]


async def test_a_feeder_that_is_cancelled_leaves_no_batch_at_work_and_acks_none_of_them() -> None:
    async with Feeding([JOBS_MAX] * 3) as feeding:
        feeding.line.showing.clear()
        await eventually(lambda: feeding.line.of("committed") == [0, 5], what="the second batch committed")
        feeding.task.cancel()
        await asyncio.wait({feeding.task})
        feeding.line.showing.set()
        await turns()
        assert (feeding.task.cancelled(), feeding.line.of("shown"), feeding.inbox.acked) == (True, [], [])


async def test_without_one_it_waits_and_grows() -> None:
    async with Feeding([1]) as feeding:
        feeding.line.showing.clear()
        await eventually(lambda: feeding.line.of("committed") == [0], what="the first batch committed")
        feeding.inbox.waiting.extend(Inbox(messages([1] * (JOBS_MAX - 1))).waiting)
        await turns()
        assert feeding.line.of("committed") == [0]
        feeding.line.showing.set()
        await eventually(lambda: len(feeding.inbox.acked) == 2, what="two batches acked")


@given(sizes=st.lists(st.integers(1, 8), max_size=40), moving=st.sets(st.integers(0, 100)))
async def test_whatever_comes_is_committed_shown_and_acked_in_order(sizes: list[int], moving: set[int]) -> None:
    async with Feeding(sizes) as feeding:
        feeding.line.moving = moving
        await eventually(lambda: not sizes or feeding.inbox.acked[-1:] == [len(sizes)], what="the last ack")
    committed, shown = feeding.line.of("committed"), feeding.line.of("shown")
    assert committed == shown == sorted(committed)
    assert feeding.inbox.acked == sorted(set(feeding.inbox.acked))
    ahead = 0
    for what, _ in feeding.line.events:
        ahead += 1 if what == "committed" else -1
        assert 0 <= ahead <= 2
