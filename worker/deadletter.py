"""Files what comes through the dead-letter queue into the table `dead_letters`, where operators find it.

Holds always: a message leaves the queue after it is filed; an id that the ledger has is not filed, for it counted.
"""

import asyncio
import hashlib
import logging
from uuid import UUID

import asyncpg

from board import ledger
from board.dead_letters import file_dead_letters
from board.job_pb2 import Job
from mesh.rabbitmq import Consumer, Delivery
from worker.batch import open_envelope
from worker.failure import is_nobodys
from worker.mover import REASON_HEADER

log = logging.getLogger(__name__)

ATTEMPTS_MAX = 2**31 - 1  # what the column holds; a job's own count is unsigned
AWAY_S = 0.5
UNFILED = "UNKNOWN"  # the reason of what the broker moved without saying why

Letter = tuple[UUID, bytes, str, int]  # update id, job, reason, attempts


class Filer:
    """Empties the dead-letter queue into the table, until cancelled."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def run(self, inbox: Consumer) -> None:
        """Files each message, then acks it. While Postgres is away they wait."""
        async for delivery in inbox:
            jobs = open_envelope(delivery.body) or ()
            await self._file({job.user_id for job in jobs}, letters(delivery))
            log.warning("Dead letters filed", extra={"event": "dead_letters_filed", "count": max(1, len(jobs))})
            inbox.ack(delivery)

    async def _file(self, user_ids: set[str], mine: list[Letter]) -> None:
        while True:
            try:
                async with self._pool.acquire() as conn, conn.transaction():
                    # Behind the same locks as the ledger's rows: a replay that counts meanwhile is seen or waits.
                    await ledger.lock_users(conn, {user_id for user_id in user_ids if "\0" not in user_id})
                    await file_dead_letters(conn, mine)
            except Exception as e:
                if not is_nobodys(e):
                    raise
                await asyncio.sleep(AWAY_S)
            else:
                return


def letters(delivery: Delivery) -> list[Letter]:
    """Returns what a message files: one letter a job, or the raw body where there is none to be read."""
    reason = reason_of(delivery)
    jobs = open_envelope(delivery.body)
    if jobs is None:
        return [(_stand_in(delivery.body), delivery.body, reason, 0)]
    unique = {_key(job): (job.SerializeToString(), reason, min(job.attempt, ATTEMPTS_MAX)) for job in jobs}
    return [(key, *rest) for key, rest in unique.items()]


def reason_of(delivery: Delivery) -> str:
    """Returns why a message is dead: our word, or the broker's (`DELIVERY_LIMIT`, …)."""
    word = delivery.headers.get(REASON_HEADER) or delivery.headers.get("x-first-death-reason") or UNFILED
    return str(word).upper()


def _key(job: Job) -> UUID:
    return UUID(bytes=job.update_id) if len(job.update_id) == 16 else _stand_in(job.SerializeToString())


def _stand_in(body: bytes) -> UUID:
    # The same bytes give the same id, so that a redelivery files nothing twice.
    return UUID(bytes=hashlib.sha256(body).digest()[:16])
