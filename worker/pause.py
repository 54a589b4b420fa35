"""Makes this worker rest while an operator wants it to (AdminService, SetPaused).

What is in hand is finished and acked, and nothing more is taken; readiness stays, for a worker that rests is well.
Holds always: a worker takes nothing, and is not ready, before it knows that it may; with Postgres away it goes on as it
was.
"""

import asyncio
import logging
from collections.abc import Sequence

import asyncpg

from mesh.rabbitmq import Consumer
from mesh.sql import load
from worker.failure import is_nobodys

log = logging.getLogger(__name__)
_SQL = load("worker", "pause.sql")

LOOK_S = 1.0  # a pause begins and ends within this


async def keep_pausing(pool: asyncpg.Pool, consumers: Sequence[Consumer], is_known: asyncio.Event) -> None:
    """Looks each second until cancelled. The consumers are paused when it begins.

    is_known: set once it was learnt whether the worker may work.
    """
    was_paused: bool | None = None
    is_failing = False
    while True:
        try:
            is_paused = bool(await pool.fetchval(_SQL["read_paused"]))
        except Exception as e:
            if not is_nobodys(e):
                raise
            if not is_failing:
                extra = {"event": "pause_unknown", "error": str(e)}
                log.warning("Whether to rest cannot be read: %s", type(e).__name__, extra=extra)
            is_failing = True
        else:
            is_failing = False
            is_known.set()
            if is_paused != was_paused:
                _set(consumers, is_paused=is_paused)
                if is_paused or was_paused is not None:
                    event = "paused" if is_paused else "resumed"
                    log.info("Paused" if is_paused else "Goes on", extra={"event": event})
            was_paused = is_paused
        await asyncio.sleep(LOOK_S)


def _set(consumers: Sequence[Consumer], *, is_paused: bool) -> None:
    for consumer in consumers:
        if is_paused:
            consumer.pause()
        else:
            consumer.resume()
