"""Keeps the catalogue at hand: read at start, again every few seconds, and at once when something is not found in it.

Holds always: what was read once stays readable while Postgres is away.
"""

import asyncio
import logging
import time

import asyncpg

from board.catalogue import Board, Catalogue
from board.catalogue_store import load_catalogue
from mesh.postgres import AWAY

log = logging.getLogger(__name__)

REFRESH_S = 2.0  # how long a changed catalogue may go unnoticed
MISS_REFRESH_S = 0.5  # what is asked for and missing may be new; asked for without end it must not cost a query each


class CatalogueCache:
    """The catalogue that holds, or held a moment ago."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._read_at = float("-inf")  # monotonic; of the last try
        self._reading = asyncio.Lock()
        self._refresher: asyncio.Task[None] | None = None
        self.current = Catalogue()  # written by `refresh` only

    @property
    def is_loaded(self) -> bool:
        """True once a catalogue was read."""
        return self.current.revision > 0

    async def start(self) -> None:
        """Reads the catalogue and keeps it fresh until `close`; Postgres away is no error, it is asked again."""
        await self.refresh()
        self._refresher = asyncio.create_task(self._keep_fresh(), name="catalogue refresh")

    async def close(self) -> None:
        """Stops refreshing."""
        if self._refresher:
            self._refresher.cancel()
            await asyncio.gather(self._refresher, return_exceptions=True)

    async def board(self, name: str) -> Board | None:
        """Returns a board by name; one that is missing is looked up before the answer is None."""
        if name not in self.current.boards:
            await self.refresh(MISS_REFRESH_S)
        return self.current.boards.get(name)

    async def refresh(self, not_within_s: float = 0.0) -> None:
        """Reads the catalogue unless that was tried within so many seconds."""
        async with self._reading:
            if time.monotonic() - self._read_at < not_within_s:
                return
            self._read_at = time.monotonic()
            try:
                async with self._pool.acquire() as connection:
                    self.current = await load_catalogue(connection)
            except (*AWAY, asyncpg.PostgresError) as e:  # whatever it is, the task must live on
                log.warning("Catalogue could not be read", extra={"event": "catalogue_away", "error": type(e).__name__})

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()
