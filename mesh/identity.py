"""Who calls: verifies access tokens (RFC 9068, by the rules of RFC 8725) against auth_svc's published keys.

Envoy has verified the same token before; each service does it again, so that a call past the gateway is refused too.
Holds always: fixed algorithms, `typ`, issuer and audience are checked, and key material comes from the JWKS alone
(headers such as jku, jwk and x5u are never followed).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import jwt

from mesh.reasons import Reason
from mesh.refusal import Refused

log = logging.getLogger(__name__)

ALGORITHMS = ("ES256", "EdDSA")
CLOCK_SKEW_S = 5.0  # as the gateway's clock_skew_seconds
TOKEN_TEXT_MAX = 4096  # ours are below 800 characters; bounds the cache and the work on hostile ones
CACHE_MAX = 50_000  # tokens; about 1 kB each
JWKS_REFRESH_S = 30.0
JWKS_MISS_REFRESH_S = 1.0  # an unknown kid asks again, but no more often than this


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
    #: `player`, `moderator`, `operator`, `admin` or `game_server`.
    role: str
    #: Unix seconds.
    expires_at: float


class TokenVerifier:
    """Verifies `authorization` headers, each token text once (about 100 µs, then 0.3 µs from the cache)."""

    def __init__(self, jwks_url: str, issuer: str, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        self._jwks_url = jwks_url
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._cache: dict[str, Identity] = {}
        self._fetched_at = float("-inf")  # monotonic; of the last try, good or bad
        self._fetching = asyncio.Lock()
        self._refresher: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """True once keys were fetched."""
        return bool(self._keys)

    async def start(self) -> None:
        """Fetches the keys and keeps them fresh until `close`; a JWKS that is away is asked again."""
        await self._fetch(0.0)
        self._refresher = asyncio.create_task(self._refresh(), name="jwks refresh")

    async def close(self) -> None:
        """Stops refreshing."""
        if self._refresher:
            self._refresher.cancel()
            await asyncio.gather(self._refresher, return_exceptions=True)

    async def verify(self, header: str | None) -> Identity:
        """Returns the identity of an `authorization` header. Raises Refused with a TOKEN_ reason or SERVICE_AWAY."""
        if header is None:
            raise Refused(Reason.TOKEN_MISSING, "This call needs an access token: send Authorization: Bearer TOKEN.")
        known = self._cache.get(header)
        if known is not None and known.expires_at + CLOCK_SKEW_S > self._clock():
            return known
        if not header.startswith("Bearer ") or len(header) > TOKEN_TEXT_MAX:
            raise _invalid()
        identity = await self._decode(header.removeprefix("Bearer "))
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()  # rare, and each token costs 0.1 ms to enter again
        self._cache[header] = identity
        return identity

    async def _decode(self, token: str) -> Identity:
        try:
            head = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as e:
            raise _invalid() from e
        if str(head.get("typ", "")).lower() != "at+jwt" or head.get("alg") not in ALGORITHMS or "crit" in head:
            raise _invalid()
        key = await self._key(head.get("kid"))
        if head["alg"] != key.algorithm_name:
            raise _invalid()
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=CLOCK_SKEW_S,
                options={"require": ["iss", "aud", "sub", "exp", "iat", "jti"]},
            )
            return _identity(claims)
        except jwt.ExpiredSignatureError as e:
            raise Refused(
                Reason.TOKEN_EXPIRED, "The access token has expired: get a new one with the refresh token."
            ) from e
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError) as e:
            raise _invalid() from e

    async def _key(self, kid: object) -> jwt.PyJWK:
        if not isinstance(kid, str):
            raise _invalid()
        if kid not in self._keys:
            await self._fetch(JWKS_MISS_REFRESH_S)
        if not self._keys:
            raise Refused(Reason.SERVICE_AWAY, "Tokens cannot be checked right now; try again.", retry_after_s=1)
        if kid not in self._keys:
            raise _invalid()
        return self._keys[kid]

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(JWKS_REFRESH_S if self._keys else JWKS_MISS_REFRESH_S)
            await self._fetch(0.0)

    async def _fetch(self, not_before_s: float) -> None:
        async with self._fetching:
            if time.monotonic() - self._fetched_at < not_before_s:
                return
            self._fetched_at = time.monotonic()
            try:
                keys = await _download(self._jwks_url)
            # The last two: JSON of another shape, from something else that listens there.
            except (
                aiohttp.ClientError,
                TimeoutError,
                jwt.PyJWTError,
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
            ) as e:
                log.warning(
                    "Keys could not be fetched",
                    extra={"event": "jwks_fetch_failed", "error": type(e).__name__},
                )
                return
            if keys.keys() != self._keys.keys():
                self._cache.clear()  # a retired key's tokens must not outlive it here
            self._keys = keys


async def _download(url: str) -> dict[str, jwt.PyJWK]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session,
        session.get(url, raise_for_status=True) as response,
    ):
        body = await response.json()
    keys = (jwt.PyJWK(jwk) for jwk in body["keys"] if jwk.get("alg") in ALGORITHMS)
    return {key.key_id: key for key in keys if key.key_id}


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
