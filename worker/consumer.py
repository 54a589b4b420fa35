"""Feeds the settler: fresh messages in batches, suspects one message at a time.

Holds always: a delivery is acked after its jobs are settled or moved, never before and never instead; a suspect that
came back is taken apart first, so that a job that kills workers is counted alone; batches are answered and acked in the
order in which they were committed; nothing is nacked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mesh import points
from mesh.rabbitmq import Consumer, Delivery
from mesh.tasks import end
from worker import figures
from worker.batch import Asked, envelope, open_envelope
from worker.mover import DeliveryLost, Mover
from worker.settle import Committed, Settler

log = logging.getLogger(__name__)

UNDECODABLE = "UNDECODABLE"  # the body is no envelope
FINISH_S = 2.0  # for what is in hand after a stop; the grace of a stop is 5 s
DELIVERED_TOO_OFTEN = "DELIVERED_TOO_OFTEN"  # a suspect that came back with each worker that took it


@dataclass(frozen=True, slots=True)
class _Batch:
    """Deliveries, and what was committed of them; None: all were moved. is_lost: the broker took them back."""

    deliveries: Sequence[Delivery]
    committed: Committed | None = None
    is_lost: bool = False

    @property
    def must_move(self) -> bool:
        """Whether jobs of it go to a delay or to the dead letters before it is done with."""
        return self.committed is not None and self.committed.must_move


class Feeder:
    """The two loops of a worker. `stop` lets each finish what it has in hand."""

    def __init__(self, settler: Settler, mover: Mover, stopping: asyncio.Event) -> None:
        self._settler = settler
        self._mover = mover
        self._stopping = stopping

    async def feed_updates(self, inbox: Consumer, *, jobs_max: int) -> None:
        """Settles the queue of updates in batches of about `jobs_max`, until stopped.

        With a backlog one batch is committed while the one before is shown and answered. Without, the next batch would
        only be smaller for it, and the dearer. Nor while jobs must be moved: that lasts as long as the broker likes,
        and what is committed must be shown soon.
        """
        while (first := await self._next(inbox)) is not None:
            batch = await self._commit(inbox, _gather(inbox, first, jobs_max))
            while not (self._stopping.is_set() or batch.must_move) and sum(map(_count, inbox.waiting)) >= jobs_max:
                batch = await self._finish_and_commit(inbox, batch, jobs_max)
            await self._finish(inbox, batch)
        await self._empty_hands(inbox, jobs_max)

    async def _finish_and_commit(self, inbox: Consumer, batch: _Batch, jobs_max: int) -> _Batch:
        """Finishes a batch and commits the next one, which waits, at the same time; returns the latter."""
        deliveries = _gather(inbox, inbox.get_waiting(1)[0], jobs_max)
        finishing = asyncio.create_task(self._finish(inbox, batch), name="finish a batch")
        try:
            await asyncio.sleep(0)  # it begins: Redis is at work while the next batch is decoded
            following = await self._commit(inbox, deliveries)
            await finishing
        finally:
            await end(finishing)
        return following

    async def _empty_hands(self, inbox: Consumer, jobs_max: int) -> None:
        """Settles what is in hand after the stop: given back, it would come again as suspect, one by one."""
        # The acks wait for the end: without them the broker sends no more than the prefetch.
        last: Delivery | None = None
        until = time.monotonic() + FINISH_S
        while time.monotonic() < until and (waiting := inbox.get_waiting(1)):
            last = await self._answer(inbox, await self._commit(inbox, _gather(inbox, waiting[0], jobs_max))) or last
        if last is not None:
            inbox.ack_up_to(last)

    async def _finish(self, inbox: Consumer, batch: _Batch) -> None:
        if (last := await self._answer(inbox, batch)) is not None:
            inbox.ack_up_to(last)

    async def _answer(self, inbox: Consumer, batch: _Batch) -> Delivery | None:
        """Shows and answers a batch; returns its last delivery, or None when the broker took it back."""
        if batch.is_lost:
            return None
        if batch.committed is not None:
            try:
                await self._settler.finish(batch.committed, partial(_is_any_held, inbox, batch.deliveries))
            except DeliveryLost:
                return None
            points.reached("worker.before_ack")
        return batch.deliveries[-1]

    async def feed_suspects(self, inbox: Consumer, *, deliveries_max: int) -> None:
        """Settles the queue of suspects one message at a time, until stopped."""
        while (delivery := await self._next(inbox)) is not None:
            try:
                await self._settle_suspect(delivery, partial(inbox.is_held, delivery), deliveries_max)
            except DeliveryLost:
                continue
            inbox.ack(delivery)

    async def _next(self, inbox: Consumer) -> Delivery | None:
        """Waits for a delivery; None: stopped. One that was taken is always returned: an ack may cover it."""
        if self._stopping.is_set():
            return None
        if waiting := inbox.get_waiting(1):
            return waiting[0]
        get = asyncio.ensure_future(inbox.get())
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({get, stop}, return_when=asyncio.FIRST_COMPLETED)
            return get.result() if get.done() else None
        finally:
            get.cancel()
            stop.cancel()

    async def _commit(self, inbox: Consumer, deliveries: Sequence[Delivery]) -> _Batch:
        try:
            fresh = await self._sort(deliveries, partial(_is_any_held, inbox, deliveries))
        except DeliveryLost:
            return _Batch(deliveries, is_lost=True)
        return _Batch(deliveries, await self._settler.commit(fresh) if fresh else None)

    async def _sort(self, deliveries: Sequence[Delivery], is_held: Callable[[], bool]) -> list[Asked]:
        """Moves what came back and what is no envelope, and returns the jobs of the others."""
        # Whole: a worker died with hundreds in hand, of which one at most is at fault.
        back = [delivery for delivery in deliveries if delivery.is_redelivered]
        if back:
            _log_back(len(back))
        await asyncio.gather(*(self._mover.to_suspects([each.body], each.reply_to, is_held) for each in back))
        fresh: list[Asked] = []
        for delivery in deliveries:
            if delivery.is_redelivered:
                continue
            if (jobs := open_envelope(delivery.body)) is None:
                await self._mover.to_dead(delivery.body, UNDECODABLE, is_held)
            else:
                fresh += [Asked(job, delivery.reply_to) for job in jobs]
        return fresh

    async def _settle_suspect(self, delivery: Delivery, is_held: Callable[[], bool], deliveries_max: int) -> None:
        if delivery.is_redelivered:
            _log_back(1)
        jobs = open_envelope(delivery.body)
        if jobs is None:
            await self._mover.to_dead(delivery.body, UNDECODABLE, is_held)
        elif len(jobs) > 1 and delivery.is_redelivered:
            await self._mover.to_suspects([envelope([job]) for job in jobs], delivery.reply_to, is_held)
        elif delivery.delivery_count >= deliveries_max:
            log.warning("A job came back too often", extra={"event": "suspect_parked"})
            await self._mover.to_dead(delivery.body, DELIVERED_TOO_OFTEN, is_held)
        else:
            await self._settler.settle([Asked(job, delivery.reply_to) for job in jobs], is_held)


def _gather(inbox: Consumer, first: Delivery, jobs_max: int) -> list[Delivery]:
    # No wait for company: who publishes does that, and while one batch is settled the next one gathers.
    deliveries = [first]
    room = jobs_max - _count(first)
    while room > 0 and (more := inbox.get_waiting(1)):
        deliveries += more
        room -= _count(more[0])
    return deliveries


def _log_back(count: int) -> None:
    figures.REDELIVERED.inc(count)
    log.warning(
        "Messages came back: a worker that had them died, or lost the broker", extra={"event": "back", "count": count}
    )


def _count(delivery: Delivery) -> int:
    # Without decoding: a job takes about 100 bytes, and the bound need not be sharp.
    return max(1, len(delivery.body) // 100)


def _is_any_held(inbox: Consumer, deliveries: Sequence[Delivery]) -> bool:
    return any(map(inbox.is_held, deliveries))
