"""Knows the actions and the trusted clients: what Postgres says of them, a few seconds old at most.

Holds always: what was just made is found, and while Postgres is away the last known catalogue holds, so that updates
still count (mesh/fresh.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from board.catalogue import Action
from board.catalogue_store import load_catalogue
from mesh.fresh import Fresh
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.sql import load

_SQL = load(__package__, "queries.sql")


@dataclass(frozen=True, slots=True)
class TrustedClient:
    """A game server or service. `actions`: what it may report, None: all."""

    client_id: str
    actions: frozenset[str] | None
    updates_per_second: int
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What one look found, by id."""

    actions: Mapping[str, Action] = field(default_factory=dict)
    clients: Mapping[str, TrustedClient] = field(default_factory=dict)


class ActionsAndClients(Fresh[Known]):
    """The actions and clients of the last look."""

    def __init__(self, pool: "asyncpg.Pool") -> None:
        super().__init__("actions and clients", self._load, Known())
        self._pool = pool

    async def action(self, action_id: str, since: float | None = None) -> Action | None:
        """Returns an action that is switched on, or None, as Postgres said at `since` (monotonic; now) or later.

        Raises Refused(SERVICE_AWAY) before the first look.
        """
        found = self.current.actions.get(action_id)
        if found is None or not found.enabled:
            await self.learn(since)
            self._check_loaded()
            found = self.current.actions.get(action_id)
        return found if found is not None and found.enabled else None

    async def client(self, client_id: str) -> TrustedClient | None:
        """Returns a client that is switched on, or None. Raises Refused(SERVICE_AWAY) before the first look."""
        found = self.current.clients.get(client_id)
        if found is None or found.is_disabled:
            await self.learn()
            self._check_loaded()
            found = self.current.clients.get(client_id)
        return found if found is not None and not found.is_disabled else None

    def _check_loaded(self) -> None:
        if not self.is_loaded:
            raise Refused(Reason.SERVICE_AWAY, "The catalogue cannot be read right now; try again.", retry_after_s=1)

    async def _load(self) -> Known:
        async with self._pool.acquire() as connection:
            catalogue = await load_catalogue(connection)
            rows = await connection.fetch(_SQL["clients"])
        return Known(catalogue.actions, {row["client_id"]: _client(row) for row in rows})


def _client(row: asyncpg.Record) -> TrustedClient:
    return TrustedClient(
        row["client_id"],
        None if row["actions"] is None else frozenset(row["actions"]),
        row["updates_per_second"],
        row["disabled"],
    )
