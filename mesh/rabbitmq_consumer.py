"""Consumes a queue, over a connection that comes back.

Holds always: an ack goes to the channel that delivered or nowhere; no message is ever nacked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh import metrics
from mesh.amqp import BrokerAway, Channel, Message
from mesh.rabbitmq_connection import Connection, Part

log = logging.getLogger(__name__)
_RECEIVED = metrics.gauge("scoreboard_broker_received_messages")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in hand, the broker's until it is acked.

    `delivery_count`: how often it was delivered before and came back, 0 at first; quorum queues count.
    """

    body: bytes
    is_redelivered: bool
    delivery_count: int
    reply_to: str | None
    message_id: str
    headers: Mapping[str, Any] = field(default_factory=dict)
    tag: int = 0
    epoch: int = 0  # of the channel that delivered it


class Consumer(Part):
    """Receives a queue's messages, at most `prefetch` without an ack, again after each reconnect.

    There is no nack, by intent: each would count toward the delivery limit. What is not acked comes back when the
    channel ends.
    """

    def __init__(self, connection: Connection, queue: str, *, prefetch: int):
        self._queue = queue
        self._prefetch = prefetch
        self._epoch = 0
        self._waiting: deque[Delivery] = deque()  # at most `prefetch`, for the broker sends no more
        self._wake = asyncio.Event()
        self._is_paused = False
        self._is_subscribed = False  # on the newest channel, or about to be
        self._subscribing: asyncio.Task[None] | None = None
        _RECEIVED.read(lambda: len(self._waiting), queue)
        super().__init__(connection, f"consumer of {queue}")

    @property
    def is_paused(self) -> bool:
        """Whether nothing is handed out for now."""
        return self._is_paused

    async def get(self) -> Delivery:
        """Waits for the next message, however long; while paused, and while the broker is away, too."""
        while self._is_paused or not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()

    def get_waiting(self, count_max: int) -> list[Delivery]:
        """Takes what has arrived already, at most `count_max`, without waiting."""
        if self._is_paused:
            return []
        return [self._waiting.popleft() for _ in range(min(count_max, len(self._waiting)))]

    @property
    def waiting(self) -> Collection[Delivery]:
        """What has arrived and can be taken, first come first."""
        return () if self._is_paused else self._waiting

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while True:
            yield await self.get()

    def is_held(self, delivery: Delivery) -> bool:
        """Whether the channel that delivered it is still open; if not, the broker delivers it again."""
        return self._channel is not None and delivery.epoch == self._epoch

    def ack(self, delivery: Delivery) -> None:
        """Tells the broker to forget the message. Of a lost channel: nothing, since it comes again. Never raises."""
        self._ack(delivery, is_multiple=False)

    def ack_up_to(self, delivery: Delivery) -> None:
        """Acks this message and all that this consumer received before it. Never raises."""
        self._ack(delivery, is_multiple=True)

    def pause(self) -> None:
        """Hands out nothing more; the broker sends up to `prefetch` messages, which are kept, then no more.

        Nothing is cancelled: a cancel gives back what is on its way, and each return counts toward the limit. A channel
        that is lost meanwhile (the broker waits half an hour for an ack) takes nothing again before `resume`.
        """
        self._is_paused = True

    def resume(self) -> None:
        """Hands out messages again, those that were kept first."""
        self._is_paused = False
        self._wake.set()
        if self._newest is not None and not self._is_subscribed:
            self._subscribing = asyncio.create_task(self._subscribe_late(self._newest), name=f"subscribe {self._name}")

    def _ack(self, delivery: Delivery, *, is_multiple: bool) -> None:
        if self._channel is None or delivery.epoch != self._epoch:
            return
        try:
            self._channel.ack(delivery.tag, is_multiple=is_multiple)
        except BrokerAway as e:
            log.debug("Ack not sent", extra=self._fields("ack_not_sent", e))

    async def _set_up(self, channel: Channel) -> None:
        self._epoch += 1
        self._is_subscribed = False
        if not self._is_paused:
            await self._subscribe(channel)

    async def _subscribe(self, channel: Channel) -> None:
        self._is_subscribed = True
        epoch = self._epoch

        def on_message(message: Message) -> None:
            if epoch == self._epoch and not channel.lost.done():
                self._waiting.append(_delivery(message, epoch))
                self._wake.set()

        await channel.consume(self._queue, on_message, prefetch=self._prefetch)

    async def _subscribe_late(self, channel: Channel) -> None:
        try:
            await self._subscribe(channel)
        except BrokerAway as e:  # the channel is lost, or never answered and ends here: the next one subscribes
            log.warning("Not subscribed", extra=self._fields("not_subscribed", e))
            channel.close()

    def _on_lost(self, reason: BrokerAway) -> None:
        self._waiting.clear()


def _delivery(message: Message, epoch: int) -> Delivery:
    headers = message.headers or {}
    return Delivery(
        body=message.body,
        is_redelivered=message.redelivered,
        delivery_count=int(headers.get("x-delivery-count", 0)),
        reply_to=message.reply_to,
        message_id=message.message_id,
        headers=headers,
        tag=message.tag,
        epoch=epoch,
    )
