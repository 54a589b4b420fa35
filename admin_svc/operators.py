"""Says who operates: the token as everywhere, then the session (or the client) and its role as Postgres has them now.

The deny-list in Redis is not asked: it may be behind, and with Redis away it says nothing, which for players does and
for operators does not. Postgres has the truth, is asked some times a minute, and without it nothing is done here
anyway. Holds always: who logged out, was banned, was switched off or lost the role operates nothing any more.
"""

from uuid import UUID

import asyncpg

from admin_svc.away import answering
from board.ledger import State
from mesh.identity import ROLES, Identity, TokenVerifier
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.sql import load

_SQL = load(__package__, "operators.sql")

OPERATING = ("moderator", "operator", "admin")  # each may do what those before it may


class Operators:
    """A mesh.rpc.Verifier on top of the token's."""

    def __init__(self, tokens: TokenVerifier, pool: asyncpg.Pool) -> None:
        self._tokens = tokens
        self._pool = pool

    async def verify(self, header: str | None) -> Identity:
        """Returns who calls.

        Raises Refused: a TOKEN_ reason, SESSION_REVOKED, BANNED or SERVICE_AWAY.
        """
        identity = await self._tokens.verify(header)
        if identity.role not in OPERATING:
            return identity  # the method's access rule refuses it, and players' tokens cost the database nothing
        with answering():
            role = await (self._session_role(identity) if identity.session_id else self._client_role(identity))
        if role != identity.role:
            raise Refused(Reason.TOKEN_EXPIRED, "The role has changed since this token was made: get a new one.")
        return identity

    async def _session_role(self, identity: Identity) -> str:
        row = await self._pool.fetchrow(_SQL["session"], _uuid(identity.session_id), identity.subject)
        if row is None or row["is_revoked"]:
            raise Refused(Reason.SESSION_REVOKED, "This session was logged out: log in again.")
        if row["state"] != State.ACTIVE:
            raise Refused(Reason.BANNED, "This account was banned.")
        return ROLES[row["role"]]

    async def _client_role(self, identity: Identity) -> str:
        row = await self._pool.fetchrow(_SQL["client"], identity.subject)
        if row is None or row["is_disabled"]:
            raise Refused(Reason.TOKEN_INVALID, "This client was switched off or removed.")
        return ROLES[row["role"]]


def is_above(role: str, other: str) -> bool:
    """Whether a player's or an operator's role may do more than the other's."""
    return ROLES.index(role) > ROLES.index(other)


def _uuid(session_id: str) -> UUID | None:
    try:
        return UUID(session_id)
    except ValueError:
        return None
