"""Answers all who ask at about the same time from one round trip.

While one round is on its way the next fills: rounds grow with load, and nobody waits for a timer.
Holds always: whoever asks is answered from a round that begins after he asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from mesh import metrics

Q = TypeVar("Q")
A = TypeVar("A")


class Rounds(Generic[Q, A]):
    """`answer` answers a round of at most `size_max` questions, in their order: an Exception fails its question alone.

    What `answer` raises fails its round, and those who wait for the next: they would only find out again.
    """

    def __init__(
        self, name: str, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]], size_max: int
    ) -> None:
        self._name = name
        self._answer = answer
        self._size_max = size_max
        self._loop = asyncio.get_running_loop()  # to ask for it again costs a system call each time, before Python 3.12
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._flusher: asyncio.Task[None] | None = None
        # Here, not above: the worker imports this and never asks in rounds.
        self._duration = metrics.histogram("scoreboard_round_duration_seconds").child(name)
        self._questions = metrics.counter("scoreboard_round_questions_total").child(name)
        metrics.gauge("scoreboard_round_waiting").read(lambda: len(self._waiting), name)

    def ask(self, question: Q) -> "asyncio.Future[A]":
        """Asks in the next round."""
        future: asyncio.Future[A] = self._loop.create_future()
        self._waiting.append((question, future))
        if self._flusher is None:
            self._flusher = self._loop.create_task(self._flush(), name=self._name)
        return future

    async def close(self) -> None:
        """Waits for what is on its way."""
        if self._flusher is not None:
            await asyncio.wait((self._flusher,))

    async def _flush(self) -> None:
        try:
            while self._waiting:
                round_, self._waiting = self._waiting[: self._size_max], self._waiting[self._size_max :]
                await self._answer_round(round_)
        finally:
            self._flusher = None

    async def _answer_round(self, round_: "list[tuple[Q, asyncio.Future[A]]]") -> None:
        answers: Sequence[A | Exception]
        began = metrics.clock()
        self._questions.inc(len(round_))
        try:
            answers = await self._answer([question for question, _ in round_])
        except Exception as e:  # whatever it is, those who wait must hear of it
            round_, self._waiting = round_ + self._waiting, []
            answers = [e] * len(round_)
        self._duration.observe(metrics.clock() - began)
        for (_, future), answer in zip(round_, answers, strict=True):
            if future.done():  # whoever asked has left
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
