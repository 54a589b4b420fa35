"""Ends what a token promised when the token is over or its session was logged out.

Holds always: nobody's own place is sent longer than LOOK_S after that; while Redis is away, nobody is known to be out.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import keys
from mesh.identity import CLOCK_SKEW_S, Identity
from stream_svc.endings import SESSION_REVOKED, TOKEN_EXPIRED, Ending
from stream_svc.hub import Hub

LOOK_S = 1.0
KEYS_AT_ONCE = 500


class Sessions:
    """Asks the deny-list, which auth_svc writes at logout."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    async def check(self, identity: Identity) -> None:
        """Raises Refused(SESSION_REVOKED) when the session was logged out."""
        if await self._denied([identity.session_id]):
            raise SESSION_REVOKED.refused()

    async def keep_checking(self, hub: Hub) -> None:
        """Takes the identity from watchers whose token is over or whose session was logged out; never returns."""
        while True:
            await asyncio.sleep(LOOK_S)
            named = [(w, w.identity) for w in hub.watchers if w.identity is not None]
            denied = await self._denied({identity.session_id for _, identity in named})
            for watcher, identity in named:
                ending = _ending(identity, denied, time.time())
                if ending is not None and watcher.identity is identity:
                    watcher.lose_identity(ending)

    async def _denied(self, session_ids: Iterable[str]) -> set[str]:
        asked = [session_id for session_id in session_ids if session_id]
        denied: set[str] = set()
        with contextlib.suppress(RedisError, OSError):
            for start in range(0, len(asked), KEYS_AT_ONCE):
                part = asked[start : start + KEYS_AT_ONCE]
                found = await self._redis.mget([keys.deny(session_id) for session_id in part])
                denied.update(session_id for session_id, value in zip(part, found, strict=True) if value is not None)
        return denied


def _ending(identity: Identity, denied: set[str], now: float) -> Ending | None:
    if identity.session_id in denied:
        return SESSION_REVOKED
    return TOKEN_EXPIRED if identity.expires_at + CLOCK_SKEW_S < now else None
