"""Accounts, sessions, refresh tokens and clients in Postgres; binds, and decides nothing.

Holds always: a Postgres that is away is SERVICE_AWAY with a delay, and no statement runs outside what the role
auth_svc was granted.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from auth_svc.refresh import DELETED, Held, session_revoked
from board.username import Username
from mesh import sql
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused

QUERIES = sql.load(__package__, "store.sql")
NAME_CONSTRAINT = "users_username_key_key"
WAIT_S = 1.5  # under the gateway's 2 s: what is done after those is done for nobody


@dataclass(frozen=True, slots=True)
class Account:
    """A player who can log in. ref: the inner number."""

    ref: int
    user_id: str
    role: int
    state: int
    password_hash: str
    changed_at: datetime  # of the password; a renewed hash leaves it


@dataclass(frozen=True, slots=True)
class Player:
    """Whose a session is. username_key: None for guests. password_hash: None for whoever cannot log in.

    is_ended: the session. is_vouched: the player signs in by a studio's identity provider.
    """

    ref: int
    user_id: str
    username: str
    username_key: str | None
    state: int
    password_hash: str | None
    is_ended: bool
    is_vouched: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A session and whose it is."""

    sid: UUID
    master_key_id: int
    user_id: str
    role: int


@dataclass(frozen=True, slots=True)
class Vouched:
    """A player whom an identity provider vouches for."""

    ref: int
    user_id: str
    role: int
    state: int


@dataclass(frozen=True, slots=True)
class Client:
    """A trusted client."""

    secret_hash: str
    role: int


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Turns what means that Postgres is away into Refused(SERVICE_AWAY); so is a wait of WAIT_S, also for a connection.

    A caller whom the gateway answered meanwhile asks again: of two refreshes the second would look like a theft.
    """
    try:
        async with asyncio.timeout(WAIT_S):
            yield
    except AWAY as e:
        raise Refused(Reason.SERVICE_AWAY, "Accounts are unavailable right now; try again.", retry_after_s=1) from e


def username_taken() -> Refused:
    """Returns the refusal of a name that another player has."""
    return Refused(Reason.USERNAME_TAKEN, "Another player has that name: choose another one.")


class LockedSession:
    """A session under its row lock, within one transaction."""

    def __init__(self, connection: sql.Connection, session: Session, token_hash: bytes) -> None:
        self._connection = connection
        self.session = session
        self.is_ended = False  # by this transaction, if it commits
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
        self.is_ended = True
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
            raise username_taken() from e

    async def add_guest(self, user_id: str, shown_name: str) -> int:
        """Adds a player without a password and returns the inner number. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            return int(await self._pool.fetchval(QUERIES["add_guest"], user_id, shown_name))

    async def find_account(self, username_key: str) -> Account | None:
        """Returns the account of a name. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            row = await self._pool.fetchrow(QUERIES["find_account"], username_key)
        if row is None:
            return None
        return Account(row["id"], row["user_id"], row["role"], row["state"], row["password_hash"], row["changed_at"])

    async def set_password_hash(self, ref: int, new_hash: str, old_hash: str) -> None:
        """Replaces a hash unless it changed meanwhile. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            await self._pool.execute(QUERIES["set_password_hash"], ref, new_hash, old_hash)

    async def add_session(
        self,
        ref: int,
        sid: UUID,
        master_key_id: int,
        life_s: int,
        token_hash: bytes,
        password_changed_at: datetime | None,
    ) -> bool:
        """Adds a session with its first refresh token; False when the password was changed since then.

        password_changed_at: None for a session that no password began. Raises Refused(SERVICE_AWAY).
        """
        async with answering():
            added = await self._pool.fetchval(
                QUERIES["add_session"], sid, ref, master_key_id, life_s, token_hash, password_changed_at
            )
        return added is not None

    async def find_by_session(self, sid: UUID) -> Player | None:
        """Returns whose a session is, ended or not; None after an erasure. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            row = await self._pool.fetchrow(QUERIES["find_by_session"], sid)
        return None if row is None else Player(*row)

    async def is_erased(self, user_id: str) -> bool:
        """Says whether there is no such player any more. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            return bool(await self._pool.fetchval(QUERIES["is_erased"], user_id))

    async def sessions_of(self, ref: int) -> list[UUID]:
        """Returns all sessions of a player. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            return [row["sid"] for row in await self._pool.fetch(QUERIES["sessions_of"], ref)]

    async def add_password(self, ref: int, password_hash: str) -> bool:
        """Gives a player a first password; False when there is one. Raises Refused: SESSION_REVOKED or SERVICE_AWAY."""
        async with answering(), self._pool.acquire() as connection, connection.transaction():
            added = await connection.fetchval(QUERIES["add_password"], ref, password_hash)
            # After the insert, whose foreign key makes an erasure wait: no hash outlives its player.
            if await connection.fetchval(QUERIES["read_state"], ref) == DELETED:
                raise session_revoked()
        return added is not None

    async def change_password(self, ref: int, new_hash: str, old_hash: str, keep: UUID) -> list[UUID] | None:
        """Replaces a password, ends all sessions but `keep` and returns them; None when it was changed meanwhile.

        Raises Refused(SERVICE_AWAY).
        """
        async with answering(), self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(QUERIES["change_password"], ref, new_hash, old_hash) is None:
                return None
            # A statement of its own, to see the sessions that the first one waited for.
            rows = await connection.fetch(QUERIES["revoke_others"], ref, keep, "password changed")
        return [row["sid"] for row in rows]

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

    async def find_vouched(self, issuer: str, subject: str) -> Vouched | None:
        """Returns the player whom an issuer knows by a subject. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            row = await self._pool.fetchrow(QUERIES["find_vouched"], issuer, subject)
        return None if row is None else Vouched(*row)

    async def add_vouched(self, issuer: str, subject: str, user_id: str, shown_name: str) -> None:
        """Adds such a player, unless anybody has the id. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            await self._pool.execute(QUERIES["add_vouched"], user_id, shown_name, issuer, subject)

    async def find_client(self, client_id: str) -> Client | None:
        """Returns a trusted client that is not switched off. Raises Refused(SERVICE_AWAY)."""
        async with answering():
            row = await self._pool.fetchrow(QUERIES["find_client"], client_id)
        return None if row is None else Client(row["secret_hash"], row["role"])
