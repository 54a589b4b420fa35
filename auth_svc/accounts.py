"""Signs players and guests up, and players and trusted clients in.

Holds always: what was wrong, the name or the password, is never said, and costs the same.
"""

import logging
import secrets

from auth_svc.guessing import Guessing
from auth_svc.hashing import Hasher
from auth_svc.password import check_new_password, check_password
from auth_svc.refresh import BANNED, DELETED, banned
from auth_svc.sessions import Granted, Sessions
from auth_svc.store import Account, Client, Store
from board.username import check_username
from mesh.client_secret import secret_matches
from mesh.reasons import Reason
from mesh.refusal import Refused

log = logging.getLogger(__name__)

USER_ID_BYTES = 12  # 96 random bits: no two of a billion players meet
#: Of names that are made up: nothing that is mistaken for another, and no vowels, which make words.
NAME_LETTERS = "23456789BCDFGHJKMNPQRSTVWXZ"


class Accounts:
    """The doors. Every call names the address that its attempt counts against."""

    def __init__(self, store: Store, sessions: Sessions, hasher: Hasher, guessing: Guessing) -> None:
        self._store = store
        self._sessions = sessions
        self._hasher = hasher
        self._guessing = guessing

    async def register(self, username: str, password: str, address: str) -> Granted:
        """Creates an account and its first session.

        Raises Refused: INVALID_ARGUMENT, USERNAME_TAKEN, RATE_LIMITED, QUEUE_FULL or SERVICE_AWAY.
        """
        name, secret = check_username(username), check_new_password(password, username)
        user_id = _new_user_id()
        async with self._guessing.attempt(address):
            ref = await self._store.add_player(user_id, name, await self._hasher.hash(secret))
        return await self._sessions.begin(ref, user_id, 0)

    async def guest(self, username: str, address: str) -> Granted:
        """Creates a player without a password, and the one session that leads to him. An empty name is made up.

        Raises Refused: INVALID_ARGUMENT, RATE_LIMITED or SERVICE_AWAY.
        """
        shown = check_username(username).shown if username else made_up_name("Guest")
        user_id = _new_user_id()
        async with self._guessing.attempt(address):
            ref = await self._store.add_guest(user_id, shown)
        return await self._sessions.begin(ref, user_id, 0)

    async def login(self, username: str, password: str, address: str) -> Granted:
        """Starts a session.

        Raises Refused: INVALID_ARGUMENT, BAD_CREDENTIALS, BANNED, RATE_LIMITED, QUEUE_FULL or SERVICE_AWAY.
        """
        name, secret = check_username(username), check_password(password)
        async with self._guessing.attempt(address, name.key):
            account = await self._store.find_account(name.key)
            fits = await self._hasher.verify(account.password_hash if account else None, secret)
            if account is None or not fits or account.state == DELETED:
                extra = {"event": "login_refused"} | ({"user_id": account.user_id} if account else {})
                log.info("A login was refused", extra=extra)
                raise Refused(Reason.BAD_CREDENTIALS, "The username or the password is wrong.")
            if account.state == BANNED:
                raise banned()
        await self._renew_hash(account, secret)
        return await self._sessions.begin(account.ref, account.user_id, account.role, account.changed_at)

    async def client(self, client_id: str, secret: str, address: str) -> Client:
        """Returns the trusted client of these credentials. Raises Refused as login does."""
        async with self._guessing.attempt(address):
            client = await self._store.find_client(client_id) if client_id and "\0" not in client_id else None
            if client is None or not secret_matches(secret, client.secret_hash):
                raise Refused(Reason.BAD_CREDENTIALS, "The client or its secret is wrong.")
        return client

    async def _renew_hash(self, account: Account, secret: bytes) -> None:
        if self._hasher.is_outdated(account.password_hash):
            new_hash = await self._hasher.hash(secret)
            await self._store.set_password_hash(account.ref, new_hash, account.password_hash)


def made_up_name(kind: str) -> str:
    """Returns a name for a player who brought none, such as `Guest 4F7Q`; another may have it too."""
    return f"{kind} " + "".join(secrets.choice(NAME_LETTERS) for _ in range(4))


def _new_user_id() -> str:
    return f"u_{secrets.token_hex(USER_ID_BYTES)}"
