"""What the load generators share: connections that are kept busy, and the count of what came of the calls."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar, cast

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass
class Tally(Generic[Request, Answer]):
    """What is still to be sent, and what came of the rest.

    is_good: how many operations an answer says were done; a call with none of them failed.
    """

    todo: Iterator[Request]
    is_good: Callable[[Answer], int]
    on_way: int = 0
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    operations: int = 0
    failed: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def began(self) -> float:
        """Counts a call that is sent now, and returns the instant."""
        self.on_way += 1
        return time.perf_counter()

    def ended(self, began: float, answer: Answer | None) -> None:
        """Counts a call that ended; answer: None when there was none."""
        self.latencies_ms.append((time.perf_counter() - began) * 1000)
        self.on_way -= 1
        self.has_ended.set()
        self.failed += 1  # unless is_good, which may raise, says otherwise
        if answer is not None and (done := self.is_good(answer)):
            self.failed -= 1
            self.operations += done

    async def wait(self) -> None:
        """Waits until nothing is on its way."""
        while self.on_way:
            self.has_ended.clear()
            await self.has_ended.wait()


class Connection(asyncio.Protocol, ABC, Generic[Request, Answer]):
    """A connection to the gateway."""

    def __init__(self, tally: Tally[Request, Answer]) -> None:
        self.tally = tally
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)

    @abstractmethod
    def send(self, request: Request) -> None:
        """Sends a request now; after its end the next one goes, if any is to do."""

    def send_next(self) -> None:
        """Sends what is to do next, if anything is."""
        for request in islice(self.tally.todo, 1):
            self.send(request)


Connect = Callable[[Tally[Request, Answer]], Connection[Request, Answer]]


async def drive_all(
    target: str,
    tally: Tally[Request, Answer],
    connect: Connect[Request, Answer],
    in_flight: int,
    connections: int,
) -> None:
    """Sends all that is to do over so many connections, so many at a time, and waits for the answers.

    target: HOST:PORT.
    """
    async with _connected(target, tally, connect, connections) as made:
        for connection in made:
            for _ in range(in_flight // connections):
                connection.send_next()
        await tally.wait()


async def keep_pace(
    target: str,
    tally: Tally[Request, Answer],
    connect: Connect[Request, Answer],
    requests: Iterable[Request],
    per_second: float,
) -> None:
    """Sends so many a second over one connection, answered or not, and waits for the answers. tally: of no others."""
    async with _connected(target, tally, connect, 1) as (connection,):
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, request in enumerate(requests):
            connection.send(request)
            await asyncio.sleep(began + (number + 1) / per_second - loop.time())
        await tally.wait()


@asynccontextmanager
async def _connected(
    target: str,
    tally: Tally[Request, Answer],
    connect: Connect[Request, Answer],
    connections: int,
) -> AsyncIterator[Sequence[Connection[Request, Answer]]]:
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: connect(tally), host, int(port)) for _ in range(connections)]
    try:
        yield [connection for _, connection in made]
    finally:
        for transport, _ in made:
            transport.close()
