"""Tames pika: its callbacks become awaitables, and its exceptions one small tree of errors.

The only module that imports pika. mesh/rabbitmq_connection.py, _publisher.py and _consumer.py stand on it, and add what
lasts. Holds always: whoever waits for a channel is answered at once when that channel ends, and a callback
that fails harms neither the loop nor the connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import pika
from pika.adapters.asyncio_connection import AsyncioConnection, _AsyncioIOServicesAdapter
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorPhaseErrorBase
from pika.channel import Channel as PikaChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.exchange_type import ExchangeType

from mesh import password_file

log = logging.getLogger(__name__)
# pika logs a stack trace for each failed attempt; what matters of it is in our own lines.
logging.getLogger("pika").setLevel(logging.CRITICAL)

CALL_TIMEOUT_S = 10.0  # a queue's first declaration elects a leader, which is slow on a busy broker
CONNECT_TIMEOUT_S = 5.0  # a frozen broker still accepts connections: its handshake must not be awaited for long
CLOSE_TIMEOUT_S = 3.0  # a broker that does not answer the goodbye is left without it


class BrokerError(Exception):
    """What can go wrong with the broker."""


class BrokerAway(BrokerError):  # noqa: N818 — named for what happened
    """The broker cannot be reached, does not answer in time, or takes nothing now; the outcome is unknown."""


class BrokerRefused(BrokerAway):
    """The broker closed the channel: no permission, nothing of that name, or a declaration that differs."""


class Unroutable(BrokerError):  # noqa: N818 — named for what happened
    """The message was for no queue, and is gone."""


class QueueFull(BrokerError):  # noqa: N818 — named for what happened
    """The queue is at its limit, and did not take the message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the broker delivered or returned; `tag` counts per channel, 0 for a returned one."""

    body: bytes
    tag: int = 0
    redelivered: bool = False
    reply_to: str | None = None
    message_id: str = ""
    headers: Mapping[str, Any] | None = None


def _as_ours(reason: BaseException | None) -> BrokerAway:
    """Translates the reason that pika gives for an end, and keeps it as the cause."""
    if isinstance(reason, BrokerAway):
        return reason
    kind = BrokerRefused if isinstance(reason, ChannelClosedByBroker) else BrokerAway
    told = _innermost(reason)
    ours = kind(str(told) or type(told).__name__)
    ours.__cause__ = reason
    return ours


def _innermost(reason: BaseException | None) -> BaseException | None:
    """Returns what pika wraps for each phase of connecting, and says nothing of in its own words."""
    while True:
        if isinstance(reason, AMQPConnectionWorkflowFailed) and reason.exceptions:
            reason = reason.exceptions[-1]
        elif isinstance(reason, AMQPConnectorPhaseErrorBase):
            reason = reason.exception
        else:
            return reason


class Address:
    """Where the broker is and who calls. Raises ValueError for an URL that is none.

    `amqps://` is encrypted, and the broker's certificate is checked: by the authorities of the file that the URL names
    as `cacertfile`, or by the system's. With a `password_file` each attempt takes the next of its passwords.
    """

    def __init__(self, url: str, name: str, heartbeat_s: int):
        if not url.startswith(("amqp://", "amqps://")):
            raise ValueError("must be amqp://USER:PASSWORD@HOST:PORT/VHOST")
        url, self._file = password_file.take(url)
        self._attempts = 0
        parts = urlsplit(url)
        self._user = unquote(parts.username or "")
        if self._file is not None:
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])  # pika takes no user without a password
        query = dict(parse_qsl(parts.query))
        trusted = query.pop("cacertfile", None)
        self._parameters = pika.URLParameters(parts._replace(query=urlencode(query)).geturl())
        if parts.scheme == "amqps":
            self._parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=trusted))
        self._parameters.heartbeat = heartbeat_s
        self._parameters.connection_attempts = 1
        self._parameters.socket_timeout = CONNECT_TIMEOUT_S
        self._parameters.stack_timeout = CONNECT_TIMEOUT_S
        self._parameters.client_properties = {"connection_name": name}

    def for_attempt(self) -> pika.URLParameters:
        """Returns what the next attempt to connect goes by. Raises BrokerAway where the password is not to be had."""
        if self._file is not None:
            try:
                passwords = password_file.read(self._file)
            except OSError as e:
                raise _as_ours(e) from e
            password = passwords[self._attempts % len(passwords)]
            self._parameters.credentials = pika.PlainCredentials(self._user, password)
            self._attempts += 1
        return self._parameters


class IOServices(_AsyncioIOServicesAdapter):  # type: ignore[misc]  # pika has no types
    """What pika does of I/O, but for a connection that was reset as it was made: pika raises that into the loop."""

    def create_streaming_connection(
        self, protocol_factory: object, sock: socket.socket, on_done: Callable[[Any], None], **options: object
    ) -> object:
        """Tells `on_done` of it instead. Returns what cancels the rest."""
        try:
            return super().create_streaming_connection(protocol_factory, sock, on_done, **options)
        except ValueError as e:
            sock.close()
            return self.get_native_ioloop().call_soon(on_done, ConnectionResetError(str(e)))


class Link:
    """One TCP connection to the broker, from its opening to its end; never opened again."""

    def __init__(self, pika_connection: AsyncioConnection, lost: asyncio.Future[BrokerAway]):
        self._pika = pika_connection
        self.lost = lost
        self.is_blocked = False  # the broker has an alarm and takes no messages; written by pika's callbacks
        pika_connection.add_on_connection_blocked_callback(self._on_blocked)
        pika_connection.add_on_connection_unblocked_callback(self._on_unblocked)

    @classmethod
    async def open(cls, address: Address) -> Link:
        """Connects and logs in. Raises BrokerAway."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        lost: asyncio.Future[BrokerAway] = loop.create_future()

        def on_open(_: object) -> None:
            if not opened.done():
                opened.set_result(None)

        def on_open_error(_: object, reason: BaseException) -> None:
            if not opened.done():
                opened.set_exception(_as_ours(reason))

        def on_close(_: object, reason: BaseException) -> None:
            on_open_error(_, reason)
            if not lost.done():
                lost.set_result(_as_ours(reason))

        connection = AsyncioConnection(address.for_attempt(), on_open, on_open_error, on_close, IOServices(loop))
        try:
            await opened
        except asyncio.CancelledError:
            if not (connection.is_closed or connection.is_closing):
                connection.close()
            raise
        return cls(connection, lost)

    async def channel(self) -> Channel:
        """Opens a channel. Raises BrokerAway."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_open(_: object) -> None:
            if not opened.done():
                opened.set_result(None)

        try:
            channel = Channel(self._pika.channel(on_open_callback=on_open))
        except AMQPError as e:
            raise _as_ours(e) from e
        await channel.answered(opened)
        return channel

    async def close(self) -> None:
        """Says goodbye to the broker, and waits a while for its answer."""
        if self.lost.done():
            return
        if not self._pika.is_closing:
            self._pika.close()
        await asyncio.wait([self.lost], timeout=CLOSE_TIMEOUT_S)

    def _on_blocked(self, _: object, __: object) -> None:
        self.is_blocked = True
        log.warning("Broker takes no messages: it has an alarm", extra={"event": "broker_blocked"})

    def _on_unblocked(self, _: object, __: object) -> None:
        self.is_blocked = False
        log.info("Broker takes messages again", extra={"event": "broker_unblocked"})


class Channel:
    """One AMQP channel, awaitable. Every method raises BrokerAway, or BrokerRefused where the broker says no."""

    def __init__(self, pika_channel: PikaChannel):
        self._pika = pika_channel
        self._calls: set[asyncio.Future[Any]] = set()
        self._on_lost: list[Callable[[BrokerAway], None]] = []
        self.lost: asyncio.Future[BrokerAway] = asyncio.get_running_loop().create_future()
        pika_channel.add_on_close_callback(self._on_close)
        # A consumer that the broker ended (its queue is gone) is a channel without a purpose: end it whole.
        pika_channel.add_on_cancel_callback(lambda _: self._lose(BrokerRefused("the queue was deleted")))

    def when_lost(self, act: Callable[[BrokerAway], None]) -> None:
        """Registers what is done at once, before anyone else runs, when the channel ends."""
        self._on_lost.append(act)

    async def answered(self, answer: asyncio.Future[Any]) -> Any:
        """Waits for an answer of the broker for CALL_TIMEOUT_S at most."""
        if self.lost.done():
            raise self.lost.result()
        self._calls.add(answer)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await answer
        except TimeoutError as e:
            raise BrokerAway(f"no answer within {CALL_TIMEOUT_S:g} s") from e
        finally:
            self._calls.discard(answer)

    async def _call(self, method: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_answer(frame: Any) -> None:
            if not answer.done():
                answer.set_result(frame.method)

        try:
            method(*args, callback=on_answer, **kwargs)
        except AMQPError as e:
            raise _as_ours(e) from e
        return await self.answered(answer)

    async def declare_exchange(self, name: str) -> None:
        """Makes a durable direct exchange, unless it is there."""
        await self._call(self._pika.exchange_declare, name, exchange_type=ExchangeType.direct, durable=True)

    async def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Makes a durable queue, unless it is there. BrokerRefused: it is there with other arguments."""
        await self._call(self._pika.queue_declare, name, durable=True, arguments=dict(arguments))

    async def bind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        """Routes the exchange's messages with that key to the queue."""
        await self._call(self._pika.queue_bind, queue, exchange, routing_key=routing_key)

    async def unbind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        """Takes a route away."""
        await self._call(self._pika.queue_unbind, queue, exchange, routing_key=routing_key)

    async def delete_queue(self, name: str) -> None:
        """Deletes a queue with all it holds."""
        await self._call(self._pika.queue_delete, name)

    async def count_ready(self, queue: str) -> int:
        """Counts the messages that wait in the queue, those that a consumer holds not among them."""
        answer = await self._call(self._pika.queue_declare, queue, passive=True)
        return int(answer.message_count)

    async def confirm(self, on_ack: Callable[[int, bool], None], on_nack: Callable[[int, bool], None]) -> None:
        """Asks for confirms; each callback gets (tag, multiple), tags count messages from 1."""

        def on_frame(frame: Any) -> None:
            act = on_ack if frame.method.NAME == "Basic.Ack" else on_nack
            act(frame.method.delivery_tag, frame.method.multiple)

        await self._call(self._pika.confirm_delivery, on_frame)

    def when_returned(self, act: Callable[[Message], None]) -> None:
        """Registers what gets the messages that were for no queue."""
        self._pika.add_on_return_callback(
            lambda _, __, properties, body: act(Message(body, message_id=properties.message_id or ""))
        )

    async def consume(
        self, queue: str, act: Callable[[Message], None], *, prefetch: int = 0, must_ack: bool = True
    ) -> None:
        """Has each message of the queue given to `act`; `prefetch` 0: any number without an ack."""
        await self._call(self._pika.basic_qos, prefetch_count=prefetch)

        def on_message(_: object, method: Any, properties: Any, body: bytes) -> None:
            message = Message(
                body,
                method.delivery_tag,
                method.redelivered,
                properties.reply_to,
                properties.message_id or "",
                properties.headers,
            )
            try:
                act(message)
            except Exception:
                log.exception("Handling a message failed", extra={"event": "message_failed", "queue": queue})

        await self._call(self._pika.basic_consume, queue, on_message, auto_ack=not must_ack)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        is_mandatory: bool,
        message_id: str | None = None,
        reply_to: str | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Hands a message to the socket: persistent when mandatory, in memory alone otherwise."""
        properties = pika.BasicProperties(
            delivery_mode=2 if is_mandatory else 1,
            message_id=message_id,
            reply_to=reply_to,
            headers=dict(headers) if headers else None,
        )
        try:
            self._pika.basic_publish(exchange, routing_key, body, properties, mandatory=is_mandatory)
        except AMQPError as e:
            raise _as_ours(e) from e

    def ack(self, tag: int, *, is_multiple: bool) -> None:
        """Acknowledges one delivery, or all up to it."""
        try:
            self._pika.basic_ack(tag, multiple=is_multiple)
        except AMQPError as e:
            raise _as_ours(e) from e

    def close(self) -> None:
        """Ends the channel; what it holds without an ack goes back to its queue."""
        if self._pika.is_open:
            self._pika.close()

    def _on_close(self, _: object, reason: BaseException) -> None:
        self._lose(_as_ours(reason))

    def _lose(self, reason: BrokerAway) -> None:
        if self.lost.done():
            return
        self.lost.set_result(reason)
        for answer in self._calls:
            if not answer.done():
                answer.set_exception(reason)
        for act in self._on_lost:
            act(reason)
        self.close()
