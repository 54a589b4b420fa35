"""Keeps a connection to RabbitMQ, and the channels on it, for ever: whatever is lost is made again.

What a channel is for is the publisher's and the consumer's. Holds always: attempts are spread and
at most BACKOFF_MAX_S apart, and whoever used a lost channel is told before anyone else runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

from mesh import metrics
from mesh.amqp import Address, BrokerAway, BrokerRefused, Channel, Link
from mesh.tasks import end

log = logging.getLogger(__name__)

_CONNECTED = metrics.gauge("scoreboard_broker_connected")
_BLOCKED = metrics.gauge("scoreboard_broker_blocked")

HEARTBEAT_S = 10  # finds a dead peer in 22 s; a caller is answered by its own timeout long before
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0  # work must flow within 5 s of the broker's return


def backoff_s(attempt: int, jitter: float) -> float:
    """Seconds to wait before the attempt after `attempt` failures (from 0); jitter in [0, 1) spreads the callers."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt, 10)) * (0.5 + jitter / 2)


async def _pause(failures: int) -> None:
    await asyncio.sleep(backoff_s(failures, random.random()))  # noqa: S311 — jitter, no secret


class Connection:
    """A connection that comes back: made now, then again whenever it is lost, until `close`.

    `on_connect` runs on a channel of its own after each connect, before any publisher or consumer: the place to
    declare queues. Fails it, the connection is dropped and made again after a pause. Raises ValueError for an URL
    that is none.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        heartbeat_s: int = HEARTBEAT_S,
        on_connect: Callable[[Channel], Awaitable[None]] | None = None,
    ):
        self.name = name
        self._address = Address(url, name, heartbeat_s)
        self._on_connect = on_connect
        self._link: Link | None = None  # written by the task of _run only
        self._up = asyncio.Event()
        self._parts: list[Part] = []
        self._task: asyncio.Task[None] | None = None
        _CONNECTED.read(self._up.is_set, name)
        _BLOCKED.read(lambda: self.is_blocked, name)

    def start(self) -> None:
        """Begins to connect, and returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"rabbitmq {self.name}")

    async def close(self) -> None:
        """Ends publishers, consumers and the connection; what was held without an ack goes back to its queue."""
        await end(*(task for task in (self._task, *(part.task for part in self._parts)) if task is not None))
        link, self._link = self._link, None
        self._up.clear()
        if link is not None:
            await link.close()

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there, takes messages, and every publisher and consumer is set up."""
        return self._up.is_set() and not self.is_blocked and all(part.is_up for part in self._parts)

    @property
    def is_blocked(self) -> bool:
        """Whether the broker has said that it takes no messages for now."""
        return self._link is not None and self._link.is_blocked

    async def wait_ready(self, timeout_s: float) -> None:
        """Waits until the connection, its publishers and its consumers are set up. Raises BrokerAway."""
        try:
            async with asyncio.timeout(timeout_s):
                for up in (self._up, *(part.up for part in self._parts)):
                    await up.wait()
        except TimeoutError as e:
            raise BrokerAway(f"no broker within {timeout_s:g} s") from e

    async def open_channel(self) -> Channel:
        """Opens a channel on the present connection, which ends with it. Raises BrokerAway."""
        if self._link is None:
            raise BrokerAway("not connected")
        return await self._link.channel()

    async def wait_channel(self) -> Channel:
        """Waits for a connection, however long, and opens a channel on it. Raises BrokerAway."""
        await self._up.wait()
        return await self.open_channel()

    def add(self, part: Part) -> None:
        """Takes a publisher or consumer into `is_ready`, `wait_ready` and `close`."""
        self._parts.append(part)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                link = await self._connect()
            except BrokerAway as e:
                level = logging.DEBUG if failures else logging.WARNING
                log.log(level, "Broker away", extra=self._fields("broker_away", e))
                await _pause(failures)
                failures += 1
                continue
            failures = 0
            self._link = link
            self._up.set()
            log.info("Broker connected", extra=self._fields("broker_connected"))
            reason = await asyncio.shield(link.lost)
            self._up.clear()
            self._link = None
            log.warning("Broker connection lost", extra=self._fields("broker_lost", reason))

    async def _connect(self) -> Link:
        link = await Link.open(self._address)
        if self._on_connect is None:
            return link
        try:
            channel = await link.channel()
            await self._on_connect(channel)
            channel.close()
        except BrokerAway:
            await link.close()
            raise
        except Exception as e:
            log.exception("Preparing the broker failed", extra=self._fields("broker_prepare_failed"))
            await link.close()
            raise BrokerAway("preparing the broker failed") from e
        except asyncio.CancelledError:
            await link.close()
            raise
        return link

    def _fields(self, event: str, reason: BrokerAway | None = None) -> dict[str, str]:
        return {"event": event, "connection": self.name} | ({"reason": str(reason)} if reason else {})


class Part(ABC):
    """What a publisher and a consumer share: a channel that is opened again whenever it is lost.

    Made on the running loop; its task lives until the connection is closed.
    """

    def __init__(self, connection: Connection, name: str):
        self._connection = connection
        self._name = name
        self._channel: Channel | None = None  # set while it can be used, by the task and by _forget only
        self._newest: Channel | None = None  # the one in use or being set up; an older one may end later
        self.up = asyncio.Event()
        connection.add(self)
        self.task = asyncio.create_task(self._keep_open(), name=f"rabbitmq {connection.name} {name}")

    @property
    def is_up(self) -> bool:
        """Whether the channel is set up."""
        return self._channel is not None

    @abstractmethod
    async def _set_up(self, channel: Channel) -> None:
        """Makes a new channel ready for use. Raises BrokerAway."""

    @abstractmethod
    def _on_lost(self, reason: BrokerAway) -> None:
        """Forgets what belonged to the channel that was lost."""

    async def _keep_open(self) -> None:
        failures = 0
        while True:
            channel: Channel | None = None
            try:
                channel = await self._connection.wait_channel()
                self._newest = channel
                channel.when_lost(partial(self._forget, channel))
                await self._set_up(channel)
                if channel.lost.done():
                    raise channel.lost.result()
            except BrokerAway as e:
                if channel is not None:
                    channel.close()
                level = logging.DEBUG if failures else logging.WARNING
                log.log(level, "Channel not set up", extra=self._fields("channel_failed", e))
                await _pause(failures)
                failures += 1
                continue
            failures = 0
            self._channel = channel
            self.up.set()
            reason = await asyncio.shield(channel.lost)
            log.warning("Channel lost", extra=self._fields("channel_lost", reason))
            if isinstance(reason, BrokerRefused):
                # Refused for a lasting reason, it would be again at once: no hot loop.
                await _pause(failures)

    def _forget(self, channel: Channel, reason: BrokerAway) -> None:
        if channel is not self._newest:
            return
        self._channel = None
        self.up.clear()
        self._on_lost(reason)

    def _fields(self, event: str, reason: BrokerAway) -> dict[str, str]:
        return {
            "event": event,
            "connection": self._connection.name,
            "channel": self._name,
            "reason": str(reason),
        }
