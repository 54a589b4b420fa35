"""Keeps at hand what Postgres says: read at start, again every few seconds, and at once when someone misses something.

Knows nothing of what is read. Holds always: what was read last stays while Postgres is away; who misses something
waits for a look that begins after he asked, shared with all who ask meanwhile and for a bounded time; and looks begin
no more often than a bound.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import asyncpg

from mesh import metrics
from mesh.postgres import AWAY
from mesh.tasks import end

log = logging.getLogger(__name__)

REFRESH_S = 2.0  # how long a change may go unnoticed
PAUSE_S = 0.2  # whoever misses something in a loop waits this long, and costs five looks a second
ANSWER_TIMEOUT_S = 0.5  # a frozen Postgres must not hold those who ask for what is not there

_AGE = metrics.gauge("scoreboard_fresh_age_seconds")

T = TypeVar("T")


class Fresh(Generic[T]):
    """A value that `read` reads. name: what log lines call it; pause_s: between the beginnings of two looks."""

    def __init__(self, name: str, read: Callable[[], Awaitable[T]], initial: T, *, pause_s: float = PAUSE_S) -> None:
        self._name = name
        self._read = read
        self._pause_s = pause_s
        self._read_at = float("-inf")  # monotonic; when the last good look began
        self._tried_at = float("-inf")  # the same of the last finished one
        self._reading: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self.current = initial  # written by _look alone
        _AGE.read(lambda: time.monotonic() - self._read_at, name)

    @property
    def is_loaded(self) -> bool:
        """True once it was read."""
        return self._read_at > float("-inf")

    async def start(self) -> None:
        """Reads it, and keeps it fresh until `close`; a Postgres that is away is asked again."""
        await self.learn()
        self._refresher = asyncio.create_task(self._keep_fresh(), name=f"refresh {self._name}")

    async def close(self) -> None:
        """Stops reading."""
        await end(*(task for task in (self._refresher, self._reading) if task))

    async def learn(self, since: float | None = None) -> bool:
        """Waits for one look that began at `since` (monotonic; now) or later; False: it failed, or takes too long."""
        since = time.monotonic() if since is None else since
        while self._tried_at < since:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._look(), name=f"read {self._name}")
            await asyncio.wait((self._reading,), timeout=ANSWER_TIMEOUT_S)
            if not self._reading.done():
                return False
        return self._read_at >= since

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S if self.is_loaded else PAUSE_S)
            await self.learn()

    async def _look(self) -> None:
        await asyncio.sleep(self._tried_at + self._pause_s - time.monotonic())
        began_at = time.monotonic()
        try:
            self.current = await self._read()
            self._read_at = began_at
        except (*AWAY, asyncpg.PostgresError) as e:
            log.warning("Not read: %s", self._name, extra={"event": "look_failed", "error": type(e).__name__})
        except Exception:  # whatever it is, the looks go on
            log.exception("Reading failed unexpectedly: %s", self._name, extra={"event": "look_failed"})
        self._tried_at = began_at
