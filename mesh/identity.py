"""Who calls: verifies access tokens (RFC 9068, by the rules of RFC 8725) against auth_svc's published keys.

Envoy has verified the same token before; each service does it again, so that a call past the gateway is refused too.
Holds always: what mesh/jwks.py checks of any token, and of ours that it is an access token (`typ` at+jwt).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt

from mesh.jwks import CLOCK_SKEW_S, Expected, KeysAway, KeySet
from mesh.reasons import Reason
from mesh.refusal import Refused

__all__ = ["CLOCK_SKEW_S", "Identity", "TokenVerifier"]

#: By the number that `users.role` and `clients.role` hold; of the first four each may do what those before it may.
ROLES = ("player", "moderator", "operator", "admin", "game_server")
ALGORITHMS = ("ES256", "EdDSA")
TOKEN_TEXT_MAX = 4096  # ours are below 800 characters; bounds the cache and the work on hostile ones
CACHE_MAX = 50_000  # tokens; about 1 kB each


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified token says of its bearer."""

    #: `sub`: a player's public id, or a trusted client's id.
    subject: str
    #: `sid`: the session; empty for trusted clients.
    session_id: str
    #: `skid`: id of the master key that the session's signing key is derived from; 0 for trusted clients.
    master_key_id: int
    scopes: frozenset[str]
    #: One of ROLES.
    role: str
    #: Unix seconds.
    expires_at: float


class TokenVerifier:
    """Verifies `authorization` headers, each token text once (about 100 µs, then 0.3 µs from the cache)."""

    def __init__(self, jwks_url: str, issuer: str, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        expected = Expected(
            issuer=issuer,
            audience=audience,
            algorithms=ALGORITHMS,
            types=("at+jwt",),
            claims=("iss", "aud", "sub", "exp", "iat", "jti"),
        )
        self._clock = clock
        self._cache: dict[str, Identity] = {}
        # A retired key's tokens must not outlive it here.
        self._keys = KeySet(jwks_url, expected, on_change=self._cache.clear)

    @property
    def is_ready(self) -> bool:
        """True once keys were fetched."""
        return self._keys.is_ready

    async def start(self) -> None:
        """Fetches the keys and keeps them fresh until `close`; a JWKS that is away is asked again."""
        await self._keys.start()

    async def close(self) -> None:
        """Stops refreshing."""
        await self._keys.close()

    async def verify(self, header: str | None) -> Identity:
        """Returns the identity of an `authorization` header. Raises Refused with a TOKEN_ reason or SERVICE_AWAY."""
        if header is None:
            raise Refused(Reason.TOKEN_MISSING, "This call needs an access token: send Authorization: Bearer TOKEN.")
        known = self._cache.get(header)
        if known is not None and known.expires_at + CLOCK_SKEW_S > self._clock():
            return known
        if not header.startswith("Bearer ") or len(header) > TOKEN_TEXT_MAX:
            raise _invalid()
        identity = await self._verified(header.removeprefix("Bearer "))
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()  # rare, and each token costs 0.1 ms to enter again
        self._cache[header] = identity
        return identity

    async def _verified(self, token: str) -> Identity:
        try:
            return _identity(await self._keys.verify(token))
        except KeysAway as e:
            raise Refused(Reason.SERVICE_AWAY, "Tokens cannot be checked right now; try again.", retry_after_s=1) from e
        except jwt.ExpiredSignatureError as e:
            raise Refused(
                Reason.TOKEN_EXPIRED, "The access token has expired: get a new one with the refresh token."
            ) from e
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError) as e:
            raise _invalid() from e


def _identity(claims: dict[str, object]) -> Identity:
    subject, role, scope = claims["sub"], claims["role"], claims["scope"]
    if not (isinstance(subject, str) and isinstance(role, str) and isinstance(scope, str)):
        raise TypeError("sub, role and scope are strings")
    return Identity(
        subject=subject,
        session_id=str(claims.get("sid", "")),
        master_key_id=int(str(claims.get("skid", 0))),
        scopes=frozenset(scope.split()),
        role=role,
        expires_at=float(str(claims["exp"])),
    )


def _invalid() -> Refused:
    return Refused(Reason.TOKEN_INVALID, "The access token is not valid here: log in again.")
