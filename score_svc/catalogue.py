"""Knows the actions and the trusted clients: what Postgres says of them, a few seconds old at most.

Holds always: a miss is looked up at once, so that what was just made is found, but no more often than a bound; and
while Postgres is away the last known catalogue holds, so that updates still count.
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
MISS_REFRESH_S = 0.2  # whoever asks for unknown actions in a loop costs five queries a second, not one a call

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
        self._asked_at = float("-inf")  # monotonic; of the last try
        self._asking = asyncio.Lock()
        self._refresher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads once, then again and again until `close`; a Postgres that is away is asked again."""
        await self._refresh(0.0)
        self._refresher = asyncio.create_task(self._keep_fresh(), name="catalogue")

    async def close(self) -> None:
        """Stops reading."""
        if self._refresher:
            self._refresher.cancel()
            await asyncio.gather(self._refresher, return_exceptions=True)

    async def action(self, action_id: str) -> Action | None:
        """Returns an action that is switched on, or None. Raises Refused(SERVICE_AWAY) before the first look."""
        found = self._actions.get(action_id)
        if found is None or not found.enabled:
            await self._refresh(MISS_REFRESH_S)
            self._check_loaded()
            found = self._actions.get(action_id)
        return found if found is not None and found.enabled else None

    async def client(self, client_id: str) -> TrustedClient | None:
        """Returns a client that is switched on, or None. Raises Refused(SERVICE_AWAY) before the first look."""
        found = self._clients.get(client_id)
        if found is None or found.is_disabled:
            await self._refresh(MISS_REFRESH_S)
            self._check_loaded()
            found = self._clients.get(client_id)
        return found if found is not None and not found.is_disabled else None

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S if self._is_loaded else MISS_REFRESH_S)
            await self._refresh(0.0)

    async def _refresh(self, not_before_s: float) -> None:
        async with self._asking:
            if time.monotonic() - self._asked_at >= not_before_s:
                await self._read()
                self._asked_at = time.monotonic()

    def _check_loaded(self) -> None:
        if not self._is_loaded:
            raise Refused(Reason.SERVICE_AWAY, "The catalogue cannot be read right now; try again.", retry_after_s=1)

    async def _read(self) -> None:
        try:
            async with self._pool.acquire() as conn:
                catalogue = await load_catalogue(conn)
                rows = await conn.fetch(_SQL["clients"])
        except AWAY as e:
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
