"""Knows the actions and the trusted clients: what Postgres says of them, a few seconds old at most.

Holds always: a miss waits for a look that begins after it, so that what was just made is found, yet looks begin no more
often than a bound; and while Postgres is away the last known catalogue holds, so that updates still count.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from board.catalogue import Action
from board.catalogue_store import load_catalogue
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.sql import load

log = logging.getLogger(__name__)

REFRESH_S = 2.0
MISS_PAUSE_S = 0.2  # whoever asks for unknown actions in a loop waits this long, and costs five queries a second
ANSWER_TIMEOUT_S = 0.5  # a frozen Postgres must not hold those who ask for what is not there

_SQL = load(__package__, "queries.sql")


@dataclass(frozen=True, slots=True)
class TrustedClient:
    """A game server or service. `actions`: what it may report, None: all."""

    client_id: str
    actions: frozenset[str] | None
    updates_per_second: int
    is_disabled: bool


class CatalogueCache:
    """The actions and clients of the last look."""

    def __init__(self, pool: "asyncpg.Pool") -> None:
        self._pool = pool
        self._actions: Mapping[str, Action] = {}
        self._clients: Mapping[str, TrustedClient] = {}
        self._is_loaded = False
        self._read_at = float("-inf")  # monotonic; when the last finished try began
        self._reading: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads once, then again and again until `close`; a Postgres that is away is asked again."""
        await self._learn(time.monotonic())
        self._refresher = asyncio.create_task(self._keep_fresh(), name="catalogue")

    async def close(self) -> None:
        """Stops reading."""
        tasks = [task for task in (self._refresher, self._reading) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def action(self, action_id: str, since: float | None = None) -> Action | None:
        """Returns an action that is switched on, or None, as Postgres said at `since` (monotonic; now) or later.

        Raises Refused(SERVICE_AWAY) before the first look.
        """
        found = self._actions.get(action_id)
        if found is None or not found.enabled:
            await self._learn(time.monotonic() if since is None else since)
            self._check_loaded()
            found = self._actions.get(action_id)
        return found if found is not None and found.enabled else None

    async def client(self, client_id: str) -> TrustedClient | None:
        """Returns a client that is switched on, or None. Raises Refused(SERVICE_AWAY) before the first look."""
        found = self._clients.get(client_id)
        if found is None or found.is_disabled:
            await self._learn(time.monotonic())
            self._check_loaded()
            found = self._clients.get(client_id)
        return found if found is not None and not found.is_disabled else None

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S if self._is_loaded else MISS_PAUSE_S)
            await self._learn(time.monotonic())

    async def _learn(self, since: float) -> None:
        """Waits for a look that began at `since` or later, shared by all who ask meanwhile, for a bounded time."""
        while self._read_at < since:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_in_time(), name="read catalogue")
            await asyncio.wait((self._reading,), timeout=ANSWER_TIMEOUT_S)
            if not self._reading.done():
                return
            self._reading.result()

    async def _read_in_time(self) -> None:
        await asyncio.sleep(self._read_at + MISS_PAUSE_S - time.monotonic())
        began_at = time.monotonic()
        await self._read()
        self._read_at = began_at

    def _check_loaded(self) -> None:
        if not self._is_loaded:
            raise Refused(Reason.SERVICE_AWAY, "The catalogue cannot be read right now; try again.", retry_after_s=1)

    async def _read(self) -> None:
        try:
            async with self._pool.acquire() as conn:
                catalogue = await load_catalogue(conn)
                rows = await conn.fetch(_SQL["clients"])
        except (*AWAY, asyncpg.PostgresError) as e:  # whatever it is, the task must live on
            log.warning("Catalogue not read", extra={"event": "catalogue_away", "error": type(e).__name__})
            return
        self._actions = catalogue.actions
        self._clients = {
            row["client_id"]: TrustedClient(
                row["client_id"],
                None if row["actions"] is None else frozenset(row["actions"]),
                row["updates_per_second"],
                row["disabled"],
            )
            for row in rows
        }
        self._is_loaded = True
