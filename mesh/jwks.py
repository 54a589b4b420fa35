"""The keys that an issuer of tokens publishes (RFC 7517), and what they prove of a token (by the rules of RFC 8725).

Holds always: a token's algorithm is the one of its key and among the expected; type, issuer, audience and times are
checked; keys come from the one configured URL (headers such as jku, jwk and x5u are never followed, nor redirects).
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from mesh import metrics
from mesh.tasks import end

log = logging.getLogger(__name__)

CLOCK_SKEW_S = 5.0  # as the gateway's clock_skew_seconds
REFRESH_S = 30.0
MISS_REFRESH_S = 1.0  # an unknown kid asks again, but no more often than this
TIMEOUT_S = 1.5  # under the gateway's deadlines, so that we say why
BYTES_MAX = 256 * 1024  # the largest sets in the wild have some tens of keys of 2 kB
_FETCHES = metrics.counter("scoreboard_jwks_fetches_total")
_FETCHED, _NOT_FETCHED = _FETCHES.child("ok"), _FETCHES.child("failed")
#: What a try may end in; the last five: an answer of another shape, from something else that listens there.
_NO_KEYS = (ConnectionError, TimeoutError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class KeysAway(Exception):  # noqa: N818 -- a state, as BrokerAway
    """No key was fetched yet, so that nothing can be said of any token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token of the issuer must be. types: of `typ` in small letters, "" for none; claims: that must be there."""

    issuer: str
    audience: str
    algorithms: Collection[str]
    types: Collection[str]
    claims: Sequence[str]


class KeySet:
    """An issuer's keys, fetched when they are needed; between `start` and `close` also every `refresh_s` seconds.

    `on_change` is called when other keys are published than before.
    """

    def __init__(
        self,
        url: str,
        expected: Expected,
        *,
        refresh_s: float = REFRESH_S,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._expected = expected
        self._refresh_s = refresh_s
        self._on_change = on_change
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")  # monotonic; of the last try's end, good or bad
        self._fetching = asyncio.Lock()
        self._refresher: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """True once keys were fetched."""
        return bool(self._keys)

    async def start(self) -> None:
        """Fetches the keys and keeps them fresh until `close`; a URL that does not answer is asked again."""
        await self._fetch(0.0)
        self._refresher = asyncio.create_task(self._refresh(), name="jwks refresh")

    async def close(self) -> None:
        """Stops refreshing."""
        if self._refresher:
            await end(self._refresher)

    async def verify(self, token: str) -> dict[str, Any]:
        """Returns the claims of the issuer's token. Raises KeysAway, and jwt.InvalidTokenError for any other."""
        expected = self._expected
        head = jwt.get_unverified_header(token)
        if str(head.get("typ", "")).lower() not in expected.types or "crit" in head:
            raise jwt.InvalidTokenError("another kind of token")
        key = await self._key(head.get("kid"))
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],  # whatever the header says
            issuer=expected.issuer,
            audience=expected.audience,
            leeway=CLOCK_SKEW_S,
            options={"require": list(expected.claims)},
        )
        return claims

    async def _key(self, kid: object) -> jwt.PyJWK:
        if not isinstance(kid, str):
            raise jwt.InvalidTokenError("no kid")
        if kid not in self._keys:
            await self._fetch(MISS_REFRESH_S)
        if not self._keys:
            raise KeysAway
        if kid not in self._keys:
            raise jwt.InvalidTokenError("no such key")
        return self._keys[kid]

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s if self._keys else MISS_REFRESH_S)
            await self._fetch(0.0)

    async def _fetch(self, not_before_s: float) -> None:
        asked_at = time.monotonic()
        async with self._fetching:
            # Also a try that ended while we waited: else many behind a slow issuer wait for one another's.
            if self._fetched_at > asked_at - not_before_s:
                return
            try:
                keys = _read(await _download(self._url), self._expected.algorithms)
            except _NO_KEYS as e:
                _NOT_FETCHED.inc()
                log.warning(
                    "Keys could not be fetched",
                    extra={"event": "jwks_fetch_failed", "url": self._url, "error": _name_of(e)},
                )
                return
            finally:
                self._fetched_at = time.monotonic()
            _FETCHED.inc()
            is_changed = keys.keys() != self._keys.keys()
            self._keys = keys
            if is_changed:
                self._on_change()


def _name_of(error: Exception) -> str:
    return str(error) if isinstance(error, ConnectionError) else type(error).__name__


async def _download(url: str) -> bytes:
    import aiohttp  # not above: a fifth of all imports of a worker, which verifies nothing

    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(url, raise_for_status=True, allow_redirects=False) as response,
        ):
            async for part in response.content.iter_any():
                body += part
                if len(body) > BYTES_MAX:
                    raise ValueError(f"more than {BYTES_MAX} bytes")
    except aiohttp.ClientError as e:
        raise ConnectionError(type(e).__name__) from e
    return bytes(body)


def _read(body: bytes, algorithms: Collection[str]) -> dict[str, jwt.PyJWK]:
    keys = {}
    for jwk in json.loads(body)["keys"]:
        if not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(jwk)
        except jwt.PyJWTError:
            continue  # of a kind that we do not know; the others are good all the same
        if key.algorithm_name in algorithms:
            keys[jwk["kid"]] = key
    return keys
