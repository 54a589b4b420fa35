"""mesh/jwks.py: which keys of an issuer's list are taken, whatever the list is; test_identity.py has the tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mesh import jwks
from mesh.jwks import BYTES_MAX, Expected, KeysAway, KeySet
from tests.jwks import Published, b64url, public_jwk, publishing
from tests.waiting import eventually

ISSUER, AUDIENCE, KID = "https://id.studio.test", "scoreboard", "k1"
EXPECTED = Expected(
    issuer=ISSUER, audience=AUDIENCE, algorithms=("ES256", "RS256"), types=("jwt", ""), claims=("exp", "sub")
)
OURS = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def published() -> AsyncIterator[Published]:
    async with publishing(Published(public_jwk(OURS, KID))) as served:
        yield served


def token(key: Any = OURS, algorithm: str = "ES256", kid: str = KID, **claims: object) -> str:
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 60}
    return jwt.encode(good | claims, key, algorithm, headers={"kid": kid})


async def sub_of(keys: KeySet, text: str) -> str:
    return str((await keys.verify(text))["sub"])


async def test_keys_of_kinds_that_we_do_not_know_leave_the_others_good(published: Published) -> None:
    published.keys = [
        {"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AAAA"},
        {"kty": "EC", "crv": "P-9999", "kid": "curve", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "half", "n": "AQAB"},
        {"kty": "oct", "k": "AAAA", "kid": "shared"},
        {"kid": "nothing"},
        *published.keys,
    ]
    assert await sub_of(KeySet(published.url, EXPECTED), token()) == "ada"


async def test_a_key_without_alg_has_its_kinds_own(published: Published) -> None:
    jwk = public_jwk(RSA, "rsa")
    del jwk["alg"]
    published.keys.append(jwk)
    keys = KeySet(published.url, EXPECTED)
    assert await sub_of(keys, token(RSA, "RS256", "rsa")) == "ada"
    with pytest.raises(jwt.InvalidTokenError):
        await keys.verify(token(RSA, "PS256", "rsa"))


@pytest.mark.parametrize("changed", [{"use": "enc"}, {"kid": None}, {"kid": [KID]}, {"alg": "ES512"}])
async def test_a_key_that_is_not_for_signing_by_an_expected_algorithm_is_not_taken(
    published: Published, changed: dict[str, object]
) -> None:
    published.keys = [public_jwk(OURS, KID) | changed, public_jwk(RSA, "rsa")]
    with pytest.raises(jwt.InvalidTokenError):
        await KeySet(published.url, EXPECTED).verify(token())


async def test_a_shared_secret_is_no_key(published: Published) -> None:
    secret = b"a secret that everyone can read!"
    published.keys.append({"kty": "oct", "k": b64url(secret), "kid": "shared"})
    with pytest.raises(jwt.InvalidTokenError):
        await KeySet(published.url, EXPECTED).verify(token(secret, "HS256", "shared"))


async def test_a_redirect_is_not_followed(published: Published) -> None:
    with pytest.raises(KeysAway):
        await KeySet(published.url.replace("/jwks", "/elsewhere"), EXPECTED).verify(token())
    assert published.asked == 0


async def test_a_list_without_end_is_not_read_to_its_end(published: Published) -> None:
    published.keys.append({"kid": "padding", "kty": "x" * BYTES_MAX})
    with pytest.raises(KeysAway):
        await KeySet(published.url, EXPECTED).verify(token())


async def test_many_behind_a_silent_issuer_wait_for_one_try(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(jwks, "MISS_REFRESH_S", 0.1)  # less, as it is
    published.speaking.clear()
    keys = KeySet(published.url, EXPECTED)
    ends = await asyncio.gather(*(keys.verify(token()) for _ in range(5)), return_exceptions=True)
    assert [type(end) for end in ends] == [KeysAway] * 5
    assert published.asked == 1


async def test_a_list_that_is_nested_without_end_is_no_list(published: Published) -> None:
    published.body = b"[" * 100_000
    with pytest.raises(KeysAway):
        await KeySet(published.url, EXPECTED).verify(token())


@pytest.mark.parametrize("shape", [["not a key"], [None], {"kid": 1}, "keys"])
async def test_an_answer_of_another_shape_leaves_the_keys_that_are_known(
    published: Published, monkeypatch: pytest.MonkeyPatch, shape: Any
) -> None:
    monkeypatch.setattr(jwks, "MISS_REFRESH_S", 0.02)
    keys = KeySet(published.url, EXPECTED, refresh_s=0.02)
    await keys.start()
    try:
        published.keys = shape
        asked = published.asked
        await eventually(lambda: published.asked > asked + 2, what="the key set asks on")
        assert await sub_of(keys, token()) == "ada"
    finally:
        await keys.close()
