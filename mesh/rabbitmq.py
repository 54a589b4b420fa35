"""Publishes to RabbitMQ with confirms, and consumes, over a connection that comes back.

Knows nothing of scores: names of queues and what a message means are the caller's. Holds always: `publish` returns
only after the broker's confirm, and ends within its time as done or with one of BrokerAway, Unroutable, QueueFull;
nothing is buffered past a bound; an ack goes to the channel that delivered or nowhere; no message is ever nacked.

Give consumers a connection of their own: under a memory alarm the broker stops reading a connection that
publishes, and acks on it would be stuck behind the messages.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.amqp import (
    BrokerAway,
    BrokerError,
    BrokerRefused,
    Channel,
    Message,
    QueueFull,
    Unroutable,
)
from mesh.rabbitmq_connection import Connection, Part, backoff_s

__all__ = [
    "DIRECT_REPLY_TO",
    "BrokerAway",
    "BrokerError",
    "BrokerRefused",
    "Channel",
    "Connection",
    "Consumer",
    "Delivery",
    "Publisher",
    "QueueFull",
    "Unroutable",
    "backoff_s",
]

log = logging.getLogger(__name__)

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
CONFIRM_TIMEOUT_S = 2.0  # the whole budget of an update (DESIGN 9): a frozen broker is not waited for longer
INFLIGHT_MESSAGES_MAX = 4096  # pika buffers without end; past this the broker is as good as away
INFLIGHT_BYTES_MAX = 16 * 1024 * 1024  # about 200 envelopes of 500 jobs
GIVEN_UP_S = 30.0  # a dead connection is found in 22 s: a message that still waits tells of a lost confirm alone


@dataclass(slots=True)
class _Inflight:
    """A message without a confirm yet; it stays here after its caller's timeout, for the broker may still hold it."""

    done: asyncio.Future[None]
    size_bytes: int
    sent_at: float  # monotonic
    is_returned: bool = False


class Publisher(Part):
    """Publishes with confirms, any number on their way at once, and receives direct replies.

    `on_reply`, when given, gets the body of each reply to a message with `reply_to=DIRECT_REPLY_TO`; it must not
    block. Replies to messages of a lost connection never come.
    """

    def __init__(self, connection: Connection, on_reply: Callable[[bytes], None] | None = None):
        self._on_reply = on_reply
        self._prefix = ""
        self._tag = 0  # of the last message; the broker counts from 1 on each channel
        self._inflight: dict[int, _Inflight] = {}  # by tag, so in the order sent
        self._inflight_bytes = 0
        self._heard_at = 0.0  # monotonic: of the last confirm
        super().__init__(connection, "publisher")

    @property
    def is_ready(self) -> bool:
        """Whether a publish would be tried now."""
        return self._channel is not None and not self._connection.is_blocked

    @property
    def is_up(self) -> bool:
        """Whether the channel is set up, and the broker answers: heartbeats notice a frozen one much later."""
        return super().is_up and not self._is_unanswered()

    def _is_unanswered(self) -> bool:
        now = time.monotonic()
        if now - self._heard_at <= CONFIRM_TIMEOUT_S:
            return False
        ages_s = (now - inflight.sent_at for inflight in self._inflight.values())
        return any(CONFIRM_TIMEOUT_S < age_s < GIVEN_UP_S for age_s in ages_s)

    @property
    def inflight_messages(self) -> int:
        """Messages handed to the broker that it has not confirmed."""
        return len(self._inflight)

    async def wait_ready(self, timeout_s: float) -> None:
        """Waits until the channel is set up. Raises BrokerAway."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.up.wait()
        except TimeoutError as e:
            raise BrokerAway(f"no broker within {timeout_s:g} s") from e

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        reply_to: str | None = None,
        headers: Mapping[str, Any] | None = None,
        timeout_s: float = CONFIRM_TIMEOUT_S,
    ) -> None:
        """Publishes a persistent message, and returns when the broker has it safe.

        Raises BrokerAway (not sent, or not confirmed in `timeout_s`: it may or may not arrive), Unroutable and
        QueueFull (it did not arrive).
        """
        channel = self._usable_channel()
        size_bytes = len(body)
        tag = self._tag + 1
        channel.publish(
            exchange,
            routing_key,
            body,
            is_mandatory=True,
            message_id=f"{self._prefix}.{tag}",
            reply_to=reply_to,
            headers=headers,
        )
        self._tag = tag
        inflight = _Inflight(asyncio.get_running_loop().create_future(), size_bytes, time.monotonic())
        self._inflight[tag] = inflight
        self._inflight_bytes += size_bytes
        try:
            async with asyncio.timeout(timeout_s):
                await inflight.done
        except TimeoutError as e:
            raise BrokerAway(f"no confirm within {timeout_s:g} s") from e

    def publish_nowait(self, exchange: str, routing_key: str, body: bytes) -> bool:
        """Sends a message that may be lost, such as a reply; False when it was not sent. Never raises."""
        try:
            self._usable_channel().publish(exchange, routing_key, body, is_mandatory=False)
        except BrokerAway:
            return False
        self._tag += 1  # a channel with confirms counts this one too
        return True

    def _usable_channel(self) -> Channel:
        if self._channel is None:
            raise BrokerAway("not connected")
        if self._connection.is_blocked:
            raise BrokerAway("the broker has an alarm and takes no messages")
        if len(self._inflight) >= INFLIGHT_MESSAGES_MAX or self._inflight_bytes >= INFLIGHT_BYTES_MAX:
            raise BrokerAway("too many messages wait for their confirms")
        return self._channel

    async def _set_up(self, channel: Channel) -> None:
        self._tag = 0
        self._prefix = secrets.token_hex(8)
        channel.when_returned(self._on_returned)
        await channel.confirm(self._on_ack, self._on_nack)
        if self._on_reply is not None:
            on_reply = self._on_reply
            # On this very channel: the broker routes a direct reply to the channel that published the question.
            await channel.consume(DIRECT_REPLY_TO, lambda message: on_reply(message.body), must_ack=False)

    def _on_lost(self, reason: BrokerAway) -> None:
        lost, self._inflight = self._inflight, {}
        self._inflight_bytes = 0
        for inflight in lost.values():
            if not inflight.done.done():
                own = type(reason)(str(reason))  # each its own: a traceback grows on what many raise
                own.__cause__ = reason
                inflight.done.set_exception(own)

    def _on_returned(self, message: Message) -> None:
        # The return comes before the ack and has no tag: it stands in the message id that publish made.
        tag = message.message_id.rpartition(".")[2]
        if tag.isdigit() and (inflight := self._inflight.get(int(tag))):
            inflight.is_returned = True

    def _on_ack(self, tag: int, is_multiple: bool) -> None:
        for inflight in self._take(tag, is_multiple):
            if inflight.done.done():
                continue
            if inflight.is_returned:
                inflight.done.set_exception(Unroutable("no queue takes this message"))
            else:
                inflight.done.set_result(None)

    def _on_nack(self, tag: int, is_multiple: bool) -> None:
        for inflight in self._take(tag, is_multiple):
            if not inflight.done.done():
                inflight.done.set_exception(QueueFull("the queue is at its limit"))

    def _take(self, tag: int, is_multiple: bool) -> list[_Inflight]:
        self._heard_at = time.monotonic()
        tags = [tag] if tag in self._inflight else []
        if is_multiple:
            tags = []
            for older in self._inflight:
                if older > tag:
                    break
                tags.append(older)
        taken = [self._inflight.pop(each) for each in tags]
        self._inflight_bytes -= sum(inflight.size_bytes for inflight in taken)
        return taken


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
