"""Begins, continues and ends sessions, and makes what a client gets of them.

Holds always: the signing key of a session never changes; a refresh is decided under the session's row lock; a session
that ended for reuse is ended in the table before anyone hears of it.
"""

import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from auth_svc import refresh, refresh_token
from auth_svc.access_token import PLAYER_SCOPE, Bearer, Issuer
from auth_svc.deny import DenyList
from auth_svc.keyring import Keyring
from auth_svc.refresh import Answer, Signature
from auth_svc.store import LockedSession, Session, Store
from mesh.keys import MasterKeys, b64url
from mesh.reasons import Reason
from mesh.refusal import Refused

log = logging.getLogger(__name__)
REFRESH_PURPOSE = "refresh-tokens"


@dataclass(frozen=True, slots=True)
class Granted:
    """What a client needs to act as a player; expires_in in seconds, server_time in unix milliseconds."""

    access_token: str
    expires_in: int
    refresh_token: str
    signing_key: str
    server_time: int
    user_id: str


class Sessions:
    """The life of sessions. life_s: seconds from login to the end, refreshed or not."""

    def __init__(
        self, store: Store, keyring: Keyring, master_keys: MasterKeys, deny_list: DenyList, issuer: Issuer, life_s: int
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._master_keys = master_keys
        self._deny_list = deny_list
        self._issuer = issuer
        self._life_s = life_s

    @property
    def token_life_s(self) -> int:
        """Life of an access token, seconds."""
        return self._issuer.life_s

    async def begin(self, ref: int, user_id: str, role: int, password_changed_at: datetime | None = None) -> Granted:
        """Starts a session of the player with the inner number `ref`.

        password_changed_at: of the password that was given, if any. Raises Refused: BAD_CREDENTIALS when it is another
        by now, or SERVICE_AWAY.
        """
        session = Session(uuid.uuid4(), self._master_keys.current, user_id, role)
        token = refresh_token.first_token(secrets.token_bytes(refresh_token.TOKEN_BYTES))
        granted = self._grant(session, token)  # first: without a key to sign with no row is left behind
        is_added = await self._store.add_session(
            ref, session.sid, session.master_key_id, self._life_s, _hash(token), password_changed_at
        )
        if not is_added:
            raise Refused(Reason.BAD_CREDENTIALS, "The password was changed just now: log in with the new one.")
        return granted

    async def go_on(self, token: str, signature: str | None) -> Granted:
        """Exchanges a refresh token. Raises Refused as refresh.decide does, TOKEN_INVALID or SERVICE_AWAY."""
        token_hash = _hash(token)
        async with self._locked(token_hash) as locked:
            granted = await self._continue(locked, token, token_hash, signature)
        if granted is None:  # the end was committed just now
            log.warning("Refresh token used twice", extra={"event": "session_reuse", "sid": str(locked.session.sid)})
            raise refresh.session_revoked()
        return granted

    async def end(self, token: str) -> None:
        """Ends the session of a refresh token, spent or not. Raises Refused: TOKEN_INVALID or SERVICE_AWAY."""
        async with self._locked(_hash(token)) as locked:
            await locked.revoke("logout")

    def client_token(self, client_id: str, role: int, scope: str) -> str:
        """Returns an access token of a trusted client. Raises Refused(SERVICE_AWAY)."""
        return self._sign(Bearer(client_id, role, scope))

    @asynccontextmanager
    async def _locked(self, token_hash: bytes) -> AsyncIterator[LockedSession]:
        """Holds a session's lock, and puts the session on the deny-list when the body ended it."""
        locked: LockedSession | None = None
        try:
            async with self._store.locked_session(token_hash) as locked:
                if locked is None:
                    raise _unknown()
                yield locked
            if locked.is_ended:
                await self._deny_list.add(locked.session.sid)
        except BaseException:  # also when the caller hangs up at the commit
            if locked is not None and locked.is_ended:
                self._deny_list.miss()
            raise

    async def _continue(
        self, locked: LockedSession, token: str, token_hash: bytes, signature: str | None
    ) -> Granted | None:
        """Returns the new tokens, or None when the session was ended for reuse."""
        session = locked.session
        if session.master_key_id not in self._master_keys.keys:
            raise refresh.session_revoked()  # the operator took its master key away
        held, now = await locked.held()
        answer = refresh.decide(held, self._check(session, token, signature), now)
        if answer is Answer.REVOKE:
            await locked.revoke("refresh token used twice")
            return None
        server_key = self._master_keys.derive(session.master_key_id, REFRESH_PURPOSE)
        successor = refresh_token.successor(server_key, token_hash)
        granted = self._grant(session, successor)
        if answer is Answer.ROTATE:
            await locked.rotate(_hash(successor))
        return granted

    def _check(self, session: Session, token: str, signature: str | None) -> Signature:
        if signature is None:
            return Signature.ABSENT
        key = self._signing_key(session)
        return Signature.GOOD if refresh_token.is_signed(key, token, signature) else Signature.WRONG

    def _grant(self, session: Session, token: str) -> Granted:
        bearer = Bearer(session.user_id, session.role, PLAYER_SCOPE, session.sid, session.master_key_id)
        return Granted(
            access_token=self._sign(bearer),
            expires_in=self._issuer.life_s,
            refresh_token=token,
            signing_key=b64url(self._signing_key(session)),
            server_time=time.time_ns() // 1_000_000,
            user_id=session.user_id,
        )

    def _sign(self, bearer: Bearer) -> str:
        return self._issuer.sign(bearer, self._keyring.signing(), int(time.time()), secrets.token_urlsafe(12))

    def _signing_key(self, session: Session) -> bytes:
        return self._master_keys.signing_key(session.master_key_id, str(session.sid))


def _hash(token: str) -> bytes:
    token_hash = refresh_token.token_hash(token)
    if token_hash is None:
        raise _unknown()
    return token_hash


def _unknown() -> Refused:
    return Refused(Reason.TOKEN_INVALID, "The refresh token is not valid: log in again.")
