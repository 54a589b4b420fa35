"""Moves jobs to other queues: to the suspects, to a delay, to the dead letters.

Holds always: a job is where it goes, confirmed, before its delivery is acked; what the broker takes twice is harmless,
since the ledger's key drops the copy.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from board import queues
from board.job_pb2 import Job
from mesh.rabbitmq import BrokerError, Publisher
from worker import figures
from worker.backoff import delay_s
from worker.batch import Asked, envelope

REASON_HEADER = "reason"  # of a dead letter
RETRY_S = 0.2  # a full queue or an alarm ends when it ends; a lost broker ends the delivery, and with it the move


class DeliveryLost(Exception):  # noqa: N818 — named for what happened
    """The broker took the delivery back, and delivers it again: whoever handles it may stop."""


def failed_once_more(job: Job) -> Job:
    """Returns a copy of the job that counts one more failure."""
    copy = Job()
    copy.CopyFrom(job)
    copy.attempt += 1
    return copy


class Mover:
    """Publishes until the broker has confirmed; gives up by DeliveryLost alone.

    is_held, an argument of each method: whether the delivery that the job came in is still ours.
    """

    def __init__(self, publisher: Publisher, delays_s: Sequence[float]) -> None:
        self._publisher = publisher
        self._delays_s = delays_s

    async def to_suspects(self, bodies: Iterable[bytes], reply_to: str | None, is_held: Callable[[], bool]) -> None:
        """Queues each of these messages, whose results are awaited there."""
        await asyncio.gather(*(self._publish(queues.SUSPECTS, body, is_held, reply_to) for body in bodies))

    async def to_next_try(self, asked: Asked, is_held: Callable[[], bool]) -> bool:
        """Queues a job that failed once more for its next try; False: it has had them all."""
        job = failed_once_more(asked.job)
        wait_s = delay_s(job.attempt, self._delays_s)
        if wait_s is None:
            return False
        await self._publish(queues.delay(wait_s), envelope([job]), is_held, asked.reply_to)
        figures.RETRIES.inc()
        return True

    async def to_dead(self, body: bytes, reason: str, is_held: Callable[[], bool]) -> None:
        """Queues a message's body for the dead letters."""
        await self._publish(queues.DEAD, body, is_held, headers={REASON_HEADER: reason})
        figures.dead_letter(reason)

    async def _publish(
        self,
        queue: str,
        body: bytes,
        is_held: Callable[[], bool],
        reply_to: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        while True:
            try:
                await self._publisher.publish("", queue, body, reply_to=reply_to, headers=headers)
            except BrokerError as e:
                if not is_held():
                    raise DeliveryLost from e
                await asyncio.sleep(RETRY_S)
            else:
                return
