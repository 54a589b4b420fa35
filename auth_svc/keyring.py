"""Holds the JWT keys of the deployment: reads them each second, makes the next one when it is due.

auth_svc/rotation.py decides; this module reads and writes the table. Holds always: all instances sign with the same key
at the same time (give or take a second), because the table and Postgres's clock decide, under one advisory lock.
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec

from auth_svc import key_wrap, rotation
from auth_svc.rotation import KeyTimes, Schedule
from mesh import sql
from mesh.keys import MasterKeys
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.tasks import end

log = logging.getLogger(__name__)
QUERIES = sql.load(__package__, "keyring.sql")
READ_INTERVAL_S = 1.0
READ_FRESH_S = 3.0  # readiness: this long after a good read Postgres counts as away


@dataclass(frozen=True, slots=True)
class _Key:
    times: KeyTimes
    public_jwk: dict[str, Any]
    private_key: ec.EllipticCurvePrivateKey | None
    is_wrapped_anew: bool  # with the current master key


class Keyring:
    """The keys; `start` before use."""

    def __init__(self, pool: "asyncpg.Pool[Any]", master_keys: MasterKeys, schedule: Schedule) -> None:
        self._pool = pool
        self._master_keys = master_keys
        self._schedule = schedule
        self._keys: Sequence[_Key] = ()  # written by _read only
        self._offset = timedelta()  # Postgres's clock minus ours
        self._read_at = float("-inf")  # monotonic, of the last good read
        self._jwks: tuple[tuple[str, ...], bytes] = ((), b'{"keys":[]}')
        self._reader: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """True while Postgres answers and a key can sign."""
        fresh = time.monotonic() - self._read_at < READ_FRESH_S
        return fresh and rotation.signer(self._times(), self._now()) is not None

    async def start(self) -> None:
        """Reads the keys and keeps them fresh until `close`; a Postgres that is away is asked again."""
        await self._try_read()
        self._reader = asyncio.create_task(self._keep_reading(), name="keyring")

    async def close(self) -> None:
        """Stops reading."""
        if self._reader:
            await end(self._reader)

    def signing(self) -> tuple[str, ec.EllipticCurvePrivateKey]:
        """Returns kid and private key of what signs now. Raises Refused(SERVICE_AWAY) before keys were read."""
        chosen = rotation.signer(self._times(), self._now())
        for key in self._keys:
            if chosen is not None and key.times.kid == chosen.kid and key.private_key is not None:
                return chosen.kid, key.private_key
        raise Refused(Reason.SERVICE_AWAY, "Tokens cannot be issued right now; try again.", retry_after_s=1)

    def jwks(self) -> bytes | None:
        """Returns the published keys (RFC 7517) as JSON; None before keys were read."""
        now = self._now()
        published = [key for key in self._keys if key.times.is_published(now)]
        kids = tuple(key.times.kid for key in published)
        if kids != self._jwks[0]:
            self._jwks = (kids, json.dumps({"keys": [key.public_jwk for key in published]}).encode())
        return self._jwks[1] if published else None

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(READ_INTERVAL_S)
            await self._try_read()

    async def _try_read(self) -> None:
        try:
            await self._read(self._pool)
            if self._due() or any(key.private_key and not key.is_wrapped_anew for key in self._keys):
                await self._turn()
        except AWAY as e:
            log.warning("Keys could not be read", extra={"event": "keys_read_failed", "error": type(e).__name__})
        except asyncpg.PostgresError as e:
            log.error("Keys could not be kept", exc_info=e, extra={"event": "keys_failed"})

    async def _read(self, connection: sql.Executor) -> None:
        rows = await connection.fetch(QUERIES["keys"])
        known = {(key.times.kid, key.is_wrapped_anew): key for key in self._keys}
        keys = []
        for row in rows:
            is_wrapped_anew = key_wrap.wrapped_with(row["private_key"]) == self._master_keys.current
            before = known.get((row["kid"], is_wrapped_anew))
            private_key = before.private_key if before else self._unwrap(row["kid"], row["private_key"])
            keys.append(_key(row, private_key, is_wrapped_anew))
        if rows:
            self._offset = rows[0]["now"] - datetime.now(UTC)
        self._keys = keys
        self._read_at = time.monotonic()

    def _unwrap(self, kid: str, wrapped: bytes) -> ec.EllipticCurvePrivateKey | None:
        try:
            return key_wrap.unwrap(self._master_keys, kid, wrapped)
        except (KeyError, InvalidTag, ValueError):
            log.error("A JWT key cannot be unwrapped with our master keys", extra={"event": "key_unwrap", "kid": kid})
            return None

    async def _turn(self) -> None:
        """Makes the key that is due and wraps anew what an older master key wrapped; one instance at a time."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(QUERIES["lock"])
            await self._read(connection)
            if self._due():
                await self._add(connection)
            for key in self._keys:
                if key.private_key and not key.is_wrapped_anew:
                    wrapped = key_wrap.wrap(self._master_keys, key.times.kid, key.private_key)
                    await connection.execute(QUERIES["rewrap"], key.times.kid, wrapped)
            await connection.execute(QUERIES["remove_retired"])
        await self._read(self._pool)

    async def _add(self, connection: sql.Connection) -> None:
        now = self._now()
        sign_from = self._schedule.next_sign_from(self._times(), now)
        assert sign_from is not None, "only called when a key is due"
        new = key_wrap.make_key()
        wrapped = key_wrap.wrap(self._master_keys, new.kid, new.private_key)
        await connection.execute(QUERIES["add"], new.kid, new.public_jwk, wrapped, min(now, sign_from), sign_from)
        await connection.execute(QUERIES["retire_others"], new.kid, self._schedule.retire_at(sign_from))
        log.info("Key made", extra={"event": "key_made", "kid": new.kid, "sign_from": sign_from.isoformat()})

    def _due(self) -> bool:
        return self._schedule.next_sign_from(self._times(), self._now()) is not None

    def _times(self) -> list[KeyTimes]:
        return [key.times for key in self._keys]

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._offset


def _key(row: "asyncpg.Record", private_key: ec.EllipticCurvePrivateKey | None, is_wrapped_anew: bool) -> _Key:
    times = KeyTimes(
        row["kid"], row["publish_from"], row["sign_from"], row["retire_at"], can_sign=private_key is not None
    )
    return _Key(times, json.loads(row["public_jwk"]), private_key, is_wrapped_anew)
