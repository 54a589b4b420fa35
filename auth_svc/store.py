"""Accounts, sessions, refresh tokens and clients in Postgres; binds, and decides nothing.

Holds always: a Postgres that is away is SERVICE_AWAY with a delay, and no statement runs outside what the role
auth_svc was granted.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from auth_svc.names import Username
from auth_svc.refresh import Held
from mesh import sql
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused

QUERIES = sql.load(__package__, "store.sql")
NAME_CONSTRAINT = "users_username_key_key"


@dataclass(frozen=True, slots=True)
class Account:
    """A player who can log in. ref: the inner number."""

    ref: int
    user_id: str
    role: int
    state: int
    password_hash: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session and whose it is."""

    sid: UUID
    master_key_id: int
    user_id: str
    role: int


@dataclass(frozen=True, slots=True)
class Client:
    """A trusted client."""

    secret_hash: str
    role: int


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Turns what means that Postgres is away into Refused(SERVICE_AWAY)."""
    try:
        yield
    except AWAY as e:
        raise Refused(Reason.SERVICE_AWAY, "Accounts are unavailable right now; try again.", retry_after_s=1) from e


class LockedSession:
    """A session under its row lock, within one transaction."""

    def __init__(self, connection: sql.Connection, session: Session, token_hash: bytes) -> None:
        self._connection = connection
        self.session = session
        self._token_hash = token_hash

    async def held(self) -> tuple[Held, datetime]:
        """Returns what the refresh is decided by, and Postgres's clock."""
        row = await self._connection.fetchrow(QUERIES["read_token"], self._token_hash)
        assert row is not None, "only whole sessions are removed, and this one is locked"
        held = Held(row["expires_at"], row["used_at"], row["successor_used"], row["revoked_at"], row["state"])
        return held, row["now"]

    async def rotate(self, successor_hash: bytes) -> None:
        """Spends the token and adds its successor."""
        await self._connection.execute(QUERIES["rotate"], self._token_hash, successor_hash)

    async def revoke(self, why: str) -> None:
        """Ends the session."""
        await self._connection.execute(QUERIES["revoke"], self.session.sid, why)


class Store:
    """The tables that auth_svc owns."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def add_player(self, user_id: str, name: Username, password_hash: str) -> int:
        """Adds a player and returns the inner number. Raises Refused: USERNAME_TAKEN or SERVICE_AWAY."""
        try:
            async with answering():
                ref = await self._pool.fetchval(QUERIES["add_player"], user_id, name.shown, name.key, password_hash)
                return int(ref)
        except asyncpg.UniqueViolationError as e:
            if e.constraint_name != NAME_CONSTRAINT:
                raise
            raise Refused(Reason.USERNAME_TAKEN, "Another player has that name: choose another one.") from e

    async def find_account(self, username_key: str) -> Account | None:
        """Returns the account of a name. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            row = await self._pool.fetchrow(QUERIES["find_account"], username_key)
        if row is None:
            return None
        return Account(row["id"], row["user_id"], row["role"], row["state"], row["password_hash"])

    async def set_password_hash(self, ref: int, new_hash: str, old_hash: str) -> None:
        """Replaces a hash unless it changed meanwhile. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            await self._pool.execute(QUERIES["set_password_hash"], ref, new_hash, old_hash)

    async def add_session(self, ref: int, sid: UUID, master_key_id: int, life_s: int, token_hash: bytes) -> None:
        """Adds a session with its first refresh token. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            await self._pool.execute(QUERIES["add_session"], sid, ref, master_key_id, life_s, token_hash)

    @asynccontextmanager
    async def locked_session(self, token_hash: bytes) -> AsyncIterator[LockedSession | None]:
        """Holds the lock on a token's session until the body ends, then commits; None for an unknown token.

        Raises Refused(SERVICE_AWAY), also when the commit's answer is lost.
        """
        async with answering(), self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(QUERIES["lock_session"], token_hash)
            if row is None:
                yield None
                return
            session = Session(row["sid"], row["master_key_id"], row["user_id"], row["role"])
            yield LockedSession(connection, session, token_hash)

    async def revoked_since(self, seconds: float) -> list[tuple[UUID, float]]:
        """Returns the sessions that were ended within the last seconds, each with the seconds since."""
        rows = await self._pool.fetch(QUERIES["revoked_since"], seconds)
        return [(row["sid"], row["ago_s"]) for row in rows]

    async def remove_ended(self, at_most: int) -> int:
        """Removes sessions that ended a day ago and returns how many."""
        status = await self._pool.execute(QUERIES["remove_ended"], at_most)
        return int(status.rpartition(" ")[2])

    async def find_client(self, client_id: str) -> Client | None:
        """Returns a trusted client that is not switched off. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            row = await self._pool.fetchrow(QUERIES["find_client"], client_id)
        return None if row is None else Client(row["secret_hash"], row["role"])
