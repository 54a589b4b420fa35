"""Signs in players whom a studio's own identity provider vouches for (token exchange, RFC 8693).

A player's id is the `sub` that the provider gives, so that the studio's servers report scores by the id they know.
Holds always: only issuers that the operator named are believed, each by its own keys; an id that is anybody else's, or
could be taken for one that we make, is never handed out; two first exchanges at once end in one player.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import jwt

from auth_svc.accounts import made_up_name
from auth_svc.guessing import Guessing
from auth_svc.refresh import BANNED, DELETED, banned
from auth_svc.sessions import Granted, Sessions
from auth_svc.settings import ExchangeIssuer
from auth_svc.store import Store, Vouched
from board.username import check_username
from mesh.jwks import Expected, KeysAway, KeySet
from mesh.reasons import Reason
from mesh.refusal import Refused

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- the type's name
SUBJECT_TOKENS = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")

ALGORITHMS = ("ES256", "ES384", "RS256", "PS256", "EdDSA")  # asymmetric all: a shared secret proves nothing to us
KEYS_REFRESH_S = 300.0  # an unknown kid asks at once; this is how long a withdrawn key may still count
#: As the catalogue's names: safe in keys, URLs, logs and signatures.
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,49}", re.ASCII)
_RESERVED = ("u_", "erased_", "client:")  # ids of our making, and how Redis tells trusted clients from players
_NAME_CLAIMS = ("name", "preferred_username")


class Exchange:
    """Takes subject tokens; `start` before use. audience: of the tokens that it gives."""

    def __init__(
        self,
        issuers: tuple[ExchangeIssuer, ...],
        audience: str,
        store: Store,
        sessions: Sessions,
        guessing: Guessing,
    ) -> None:
        self.audience = audience
        self._keys = {each.issuer: _key_set(each) for each in issuers}
        self._store = store
        self._sessions = sessions
        self._guessing = guessing

    async def start(self) -> None:
        """Fetches the issuers' keys and keeps them fresh until `close`."""
        await asyncio.gather(*(keys.start() for keys in self._keys.values()))

    async def close(self) -> None:
        """Stops fetching."""
        await asyncio.gather(*(keys.close() for keys in self._keys.values()))

    async def grant(self, subject_token: str, address: str) -> Granted:
        """Starts a session of the token's player, who is made at the first time.

        Raises Refused: TOKEN_INVALID, TOKEN_EXPIRED, BANNED, RATE_LIMITED or SERVICE_AWAY.
        """
        async with self._guessing.attempt(address):
            claims = await self._verify(subject_token)
            player = await self._player(claims)
            if player.state == BANNED:
                raise banned()
            if player.state == DELETED:
                raise _refused("This player was erased.")
        return await self._sessions.begin(player.ref, player.user_id, player.role)

    async def _verify(self, token: str) -> dict[str, Any]:
        try:
            keys = self._keys.get(_unverified_issuer(token))
            if keys is None:
                raise _refused("The subject token's issuer is not one that is trusted here.")
            return await keys.verify(token)
        except KeysAway as e:
            raise Refused(
                Reason.SERVICE_AWAY, "The issuer's keys cannot be had right now; try again.", retry_after_s=1
            ) from e
        except jwt.ExpiredSignatureError as e:
            raise Refused(Reason.TOKEN_EXPIRED, "The subject token has expired.") from e
        except (jwt.PyJWTError, ValueError, KeyError, TypeError) as e:
            raise _refused("The subject token is not a good one of its issuer for this audience.") from e

    async def _player(self, claims: Mapping[str, Any]) -> Vouched:
        issuer, subject = claims["iss"], claims["sub"]
        user_id = check_subject(subject)
        player = await self._store.find_vouched(issuer, subject)
        if player is None:
            await self._store.add_vouched(issuer, subject, user_id, shown_name(claims))
            # Anew, whoever added it: of two first exchanges the slower one finds what the faster one made.
            player = await self._store.find_vouched(issuer, subject)
        if player is None:
            raise _refused("The subject is the id of another player here, and nobody takes over a player.")
        return player


def check_subject(subject: str) -> str:
    """Returns the user id that a subject is. Raises Refused(TOKEN_INVALID) when it cannot be one."""
    if not _USER_ID.fullmatch(subject):
        raise _refused(
            "The subject cannot be a user id: 1 to 50 letters, digits, dots, underscores, colons and dashes,"
            " a letter or digit first."
        )
    if subject.startswith(_RESERVED):
        raise _refused(f"The subject cannot be a user id: {', '.join(_RESERVED)} begin ids of another kind.")
    return subject


def shown_name(claims: Mapping[str, Any]) -> str:
    """Returns the first claim that is a good name, or one made up."""
    for claim in _NAME_CLAIMS:
        try:
            return check_username(claims[claim]).shown
        except (Refused, KeyError, AttributeError):
            continue
    return made_up_name("Player")


def _key_set(issuer: ExchangeIssuer) -> KeySet:
    expected = Expected(
        issuer=issuer.issuer,
        audience=issuer.audience,
        algorithms=ALGORITHMS,
        types=("jwt", ""),  # an access or a logout token is no proof of who is there
        claims=("iss", "aud", "sub", "exp"),
    )
    return KeySet(issuer.jwks_url, expected, refresh_s=KEYS_REFRESH_S)


def _unverified_issuer(token: str) -> str:
    """Returns whose keys to check the token by: a claim so far, and no more."""
    return str(jwt.decode(token, options={"verify_signature": False}).get("iss"))


def _refused(words: str) -> Refused:
    return Refused(Reason.TOKEN_INVALID, words)
