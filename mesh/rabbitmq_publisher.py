"""Publishes with confirms, over a connection that comes back.

Holds always: `publish` returns only after the broker's confirm, and ends within its time as done or with one of
BrokerAway, Unroutable, QueueFull; nothing is buffered past a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh import metrics
from mesh.amqp import BrokerAway, BrokerError, Channel, Message, QueueFull, Unroutable
from mesh.rabbitmq_connection import Connection, Part

_UNCONFIRMED = metrics.gauge("scoreboard_broker_unconfirmed_messages")
_CONFIRM_DURATION = metrics.histogram("scoreboard_broker_confirm_duration_seconds").child()
_FAILURES = metrics.counter("scoreboard_broker_failures_total")
for _failure in ("away", "full", "unroutable"):
    _FAILURES.child(_failure)  # from the start, at 0: a counter that appears with its first event shows no increase

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
        _UNCONFIRMED.read(lambda: len(self._inflight), connection.name)
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
        with _counted():
            sent = self._send(exchange, routing_key, body, reply_to, headers)
            try:
                async with asyncio.timeout(timeout_s):
                    await sent
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

    def _send(
        self, exchange: str, routing_key: str, body: bytes, reply_to: str | None, headers: Mapping[str, Any] | None
    ) -> asyncio.Future[None]:
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
        return inflight.done

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


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    began = metrics.clock()
    try:
        yield
    except BrokerError as e:
        failure = "full" if isinstance(e, QueueFull) else "unroutable" if isinstance(e, Unroutable) else "away"
        _FAILURES.child(failure).inc()
        raise
    _CONFIRM_DURATION.observe(metrics.clock() - began)
