"""Keeps the deny-list: the sessions whose access tokens are refused although they are not over yet.

Redis holds it for score_svc and stream_svc; the table of sessions is its truth, but for sessions of erased players,
which this process remembers. Holds always: a session that was ended while Redis was away, or by a caller who hung up,
or whose key a Redis lost, is on the list within about a second of Redis being back.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from auth_svc.rotation import CLOCK_SKEW_S
from auth_svc.store import Store
from board import keys
from mesh import postgres, redis
from mesh.tasks import end

log = logging.getLogger(__name__)
CHECK_INTERVAL_S = 1.0
REMOVE_INTERVAL = 600  # checks between two removals of old sessions
REMOVED_AT_ONCE = 1_000  # keeps each removal short beside logins
#: Stands while the list is whole; no sid has this form. A Redis that was emptied or replaced lacks it.
FILLED = keys.deny("filled")


class DenyList:
    """Writes the list; `start` keeps it whole until `close`."""

    def __init__(self, client: Redis, store: Store, token_life_s: int) -> None:
        self._redis = client
        self._store = store
        self._life_s = token_life_s + CLOCK_SKEW_S + 1
        self._missed = True  # written by add, miss and _check: the list may lack something
        self._erased: dict[UUID, float] = {}  # sessions without a row, until when (monotonic)
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to keep the list."""
        self._keeper = asyncio.create_task(self._keep(), name="deny-list")

    async def close(self) -> None:
        """Stops keeping it."""
        if self._keeper:
            await end(self._keeper)

    async def add(self, *sids: UUID) -> None:
        """Refuses the access tokens of ended sessions from now on; while Redis is away, from its return on."""
        try:
            await self._put((sid, self._life_s) for sid in sids)
        except redis.AWAY:
            self.miss()
        except BaseException:  # above all CancelledError: who asked for it hung up
            self.miss()
            raise

    def miss(self) -> None:
        """Has the list filled anew from the table: sessions may have ended there without an `add`."""
        self._missed = True

    async def add_erased(self, *sids: UUID) -> None:
        """Does as `add` for sessions whose rows are gone with their player: what refills the list is here alone."""
        until = time.monotonic() + self._life_s
        self._erased |= dict.fromkeys(sids, until)
        await self.add(*sids)

    async def _put(self, lives: Iterable[tuple[UUID, float]]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for sid, life_s in lives:
                pipeline.set(keys.deny(str(sid)), 1, ex=max(1, round(life_s)))
            await pipeline.execute()

    async def _keep(self) -> None:
        checks = 0
        while True:
            try:
                await self._check()
                if checks % REMOVE_INTERVAL == 0:
                    await self._store.remove_ended(REMOVED_AT_ONCE)
                checks += 1
            except (RedisError, *postgres.AWAY, asyncpg.PostgresError) as e:  # whatever it is, the task must live on
                log.warning("Deny-list is not kept", extra={"event": "deny_list_away", "error": type(e).__name__})
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def _check(self) -> None:
        now = time.monotonic()
        self._erased = {sid: until for sid, until in self._erased.items() if until > now}
        if not self._missed and await self._redis.exists(FILLED):
            return
        self._missed = False
        try:
            revoked = await self._store.revoked_since(self._life_s)
            lives = {sid: self._life_s - ago_s for sid, ago_s in revoked}
            lives |= {sid: until - now for sid, until in self._erased.items()}
            await self._put(lives.items())
            await self._redis.set(FILLED, 1)
        except BaseException:
            self._missed = True
            raise
        log.info("Deny-list filled", extra={"event": "deny_list_filled", "sessions": len(lives)})
