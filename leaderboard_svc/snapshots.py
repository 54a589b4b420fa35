"""Keeps serialised answers for a moment, so that a crowd that asks the same is answered from one read.

Holds always: an answer is no older than its life, and of those who wait for the same one only one reads.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

FRESH_S = 0.05  # lists of the top may be 100 ms old (the contract); half of it leaves room for the way
ANSWERS_MAX = 1_000  # about 10 kB each at most


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as protobuf and as JSON; etag is None when it came from Postgres."""

    body: bytes
    json: bytes
    etag: str | None


A = TypeVar("A")


class SharedReads(Generic[A]):
    """Reads under way, by what was asked: whoever asks for the same meanwhile waits for the one that there is."""

    def __init__(self) -> None:
        self._reads: dict[Hashable, asyncio.Task[A]] = {}

    async def get(self, asked: Hashable, read: Callable[[], Coroutine[None, None, A]]) -> A:
        """Returns what `read` gives; raises what it raises, to everyone who waits for it."""
        task = self._reads.get(asked)
        if task is None:
            task = asyncio.create_task(read(), name="leaderboard read")
            self._reads[asked] = task
            task.add_done_callback(lambda _: self._reads.pop(asked))
        # A caller that gives up must not take the read away from the others.
        return await asyncio.shield(task)


class Snapshots(Generic[A]):
    """Answers by what was asked, the least recently used forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: OrderedDict[Hashable, tuple[float, A]] = OrderedDict()  # good until, answer
        self._reads: SharedReads[A] = SharedReads()

    async def get(self, asked: Hashable, read: Callable[[], Awaitable[A]]) -> A:
        """Returns the answer at hand, or what `read` gives; raises what it raises, to everyone who waits for it."""
        kept = self._answers.get(asked)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        return await self._reads.get(asked, lambda: self._read(asked, read))

    async def _read(self, asked: Hashable, read: Callable[[], Awaitable[A]]) -> A:
        # The life counts from before the read: what is committed after this moment may be missing.
        started = self._clock()
        answer = await read()
        self._answers[asked] = (started + FRESH_S, answer)
        self._answers.move_to_end(asked)
        if len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)
        return answer
