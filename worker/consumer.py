"""Feeds the settler: fresh messages in batches, suspects one message at a time.

Holds always: a delivery is acked after its jobs are settled or moved, never before and never instead; a suspect that
came back is taken apart first, so that a job that kills workers is counted alone; nothing is nacked.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from mesh import points
from mesh.rabbitmq import Consumer, Delivery
from worker import figures
from worker.batch import Asked, envelope, open_envelope
from worker.mover import DeliveryLost, Mover
from worker.settle import Settler

log = logging.getLogger(__name__)

UNDECODABLE = "UNDECODABLE"  # the body is no envelope
FINISH_S = 2.0  # for what is in hand after a stop; the grace of a stop is 5 s
DELIVERED_TOO_OFTEN = "DELIVERED_TOO_OFTEN"  # a suspect that came back with each worker that took it


class Feeder:
    """The two loops of a worker. `stop` lets each finish what it has in hand."""

    def __init__(self, settler: Settler, mover: Mover, stopping: asyncio.Event) -> None:
        self._settler = settler
        self._mover = mover
        self._stopping = stopping

    async def feed_updates(self, inbox: Consumer, *, jobs_max: int) -> None:
        """Settles the queue of updates in batches of about `jobs_max`, until stopped."""
        while (first := await self._next(inbox)) is not None:
            if (last := await self._feed_batch(inbox, first, jobs_max)) is not None:
                inbox.ack_up_to(last)
        await self._finish(inbox, jobs_max)

    async def _finish(self, inbox: Consumer, jobs_max: int) -> None:
        """Settles what is in hand after the stop: given back, it would come again as suspect, one by one."""
        # The acks wait for the end: without them the broker sends no more than the prefetch.
        last: Delivery | None = None
        until = time.monotonic() + FINISH_S
        while time.monotonic() < until and (waiting := inbox.get_waiting(1)):
            last = await self._feed_batch(inbox, waiting[0], jobs_max) or last
        if last is not None:
            inbox.ack_up_to(last)

    async def _feed_batch(self, inbox: Consumer, first: Delivery, jobs_max: int) -> Delivery | None:
        """Settles a batch and returns its last delivery; None: the broker took it back and delivers it again."""
        deliveries = _gather(inbox, first, jobs_max)
        try:
            await self._settle_batch(deliveries, partial(_is_any_held, inbox, deliveries))
        except DeliveryLost:
            return None
        return deliveries[-1]

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

    async def _settle_batch(self, deliveries: Sequence[Delivery], is_held: Callable[[], bool]) -> None:
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
        if fresh:
            await self._settler.settle(fresh, is_held)
            points.reached("worker.before_ack")

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
