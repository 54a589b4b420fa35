"""mesh/identity.py: which access tokens a service takes, by RFC 8725, against keys served over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh import identity, jwks
from mesh.identity import CLOCK_SKEW_S, TokenVerifier
from mesh.refusal import Refused
from tests.jwks import Published, b64url, hs256, public_jwk, publishing, signed_es256, unsigned, with_claims
from tests.waiting import eventually

ISSUER, AUDIENCE, KID = "http://gateway.test", "scoreboard", "k1"
OURS = ec.generate_private_key(ec.SECP256R1())
THEIRS = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HEADERS = {"typ": "at+jwt", "kid": KID}


@pytest.fixture
async def keys() -> AsyncIterator[Published]:
    async with publishing(Published(public_jwk(OURS, KID))) as published:
        yield published


@pytest.fixture
async def verifier(keys: Published) -> AsyncIterator[TokenVerifier]:
    made = TokenVerifier(keys.url, ISSUER, AUDIENCE)
    await made.start()
    yield made
    await made.close()


def claims(**changed: object) -> dict[str, object]:
    """The claims of a good token; None takes one away."""
    now = int(time.time())
    good: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u_ada",
        "sid": "5f0c1a62-2f5e-4d0c-9d55-6a0e58d3d1aa",
        "skid": 1,
        "scope": "update:score read:leaderboard",
        "role": "player",
        "iat": now,
        "exp": now + 600,
        "jti": "one",
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def token(key: Any = OURS, algorithm: str = "ES256", **changed: object) -> str:
    return jwt.encode(claims(**changed), key, algorithm, headers=HEADERS)


def with_header(**changed: object) -> str:
    """A token signed by us whose header is changed; None takes a field away."""
    header = {name: value for name, value in {"alg": "ES256", **HEADERS, **changed}.items() if value is not None}
    return signed_es256(OURS, header, claims())


def _public(encoding: Encoding, form: PublicFormat) -> bytes:
    return OURS.public_key().public_bytes(encoding, form)


THEIR_JWK = public_jwk(THEIRS, KID)
PEM = _public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
POINT = _public(Encoding.X962, PublicFormat.UncompressedPoint)

REFUSED: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned({"alg": "none", **HEADERS}, claims()),
    "alg None": lambda: unsigned({"alg": "None", **HEADERS}, claims()),
    "ES256 without a signature": lambda: unsigned({"alg": "ES256", **HEADERS}, claims()),
    "HS256 with the public key as PEM": lambda: hs256(PEM, HEADERS, claims()),
    "HS256 with the public point": lambda: hs256(POINT, HEADERS, claims()),
    "HS256 with the JWK": lambda: hs256(json.dumps(public_jwk(OURS, KID)).encode(), HEADERS, claims()),
    "RS256": lambda: token(RSA, "RS256"),
    "the header says EdDSA": lambda: with_header(alg="EdDSA"),
    "someone else's key": lambda: token(THEIRS),
    "someone else's key in jwk": lambda: jwt.encode(claims(), THEIRS, "ES256", headers={**HEADERS, "jwk": THEIR_JWK}),
    "someone else's key behind jku": lambda: jwt.encode(
        claims(), THEIRS, "ES256", headers={**HEADERS, "jku": "http://127.0.0.1:9/jwks"}
    ),
    "someone else's key behind x5u": lambda: jwt.encode(
        claims(), THEIRS, "ES256", headers={**HEADERS, "x5u": "http://127.0.0.1:9/cert", "x5c": ["AAAA"]}
    ),
    "a kid nobody published": lambda: with_header(kid="k2"),
    "no kid": lambda: with_header(kid=None),
    "a kid that is a path": lambda: with_header(kid="../../../../dev/null"),
    "a kid that is SQL": lambda: with_header(kid="k1' OR '1'='1"),
    "a kid that is a number": lambda: with_header(kid=1),
    "a kid that is a list": lambda: with_header(kid=[KID]),
    "crit": lambda: with_header(crit=["exp"]),
    "crit of what the library knows": lambda: with_header(crit=["b64"], b64=True),
    "crit of something unknown": lambda: with_header(crit=["http://evil.test/x"]),
    "typ JWT": lambda: with_header(typ="JWT"),
    "no typ": lambda: with_header(typ=None),
    "typ of an id token": lambda: with_header(typ="id_token+jwt"),
    "changed after signing": lambda: with_claims(token(), claims(sub="u_eve")),
    "another issuer": lambda: token(iss="http://evil.test"),
    "no issuer": lambda: token(iss=None),
    "another audience": lambda: token(aud="shop"),
    "no audience": lambda: token(aud=None),
    "no subject": lambda: token(sub=None),
    "a subject that is a number": lambda: token(sub=7),
    "no exp": lambda: token(exp=None),
    "exp that is no number": lambda: token(exp="soon"),
    "no iat": lambda: token(iat=None),
    "issued in the future": lambda: token(iat=int(time.time()) + 3600),
    "not yet good": lambda: token(nbf=int(time.time()) + 3600),
    "no jti": lambda: token(jti=None),
    "no role": lambda: token(role=None),
    "a scope that is a list": lambda: token(scope=["update:score"]),
    "a skid that is no number": lambda: token(skid="one"),
    "an empty token": lambda: "",
    "two parts": lambda: token().rpartition(".")[0],
    "five parts": lambda: token() + ".a.b",
    "no JSON": lambda: "!!!.???.***",
    "too long": lambda: token(sub="x" * identity.TOKEN_TEXT_MAX),
}


@pytest.mark.promise(row=28)
@pytest.mark.parametrize("what", REFUSED)
async def test_a_token_that_is_wrong_is_refused(verifier: TokenVerifier, what: str) -> None:
    with pytest.raises(Refused) as refused:
        await verifier.verify(f"Bearer {REFUSED[what]()}")
    assert refused.value.reason == "TOKEN_INVALID"


async def test_a_good_token_says_who_calls(verifier: TokenVerifier) -> None:
    caller = await verifier.verify(f"Bearer {token()}")
    assert (caller.subject, caller.role, caller.master_key_id) == ("u_ada", "player", 1)
    assert caller.scopes == {"update:score", "read:leaderboard"}
    assert caller.session_id == "5f0c1a62-2f5e-4d0c-9d55-6a0e58d3d1aa"


async def test_a_trusted_client_has_no_session(verifier: TokenVerifier) -> None:
    caller = await verifier.verify(f"Bearer {token(sub='game-1', role='game_server', sid=None, skid=None)}")
    assert (caller.subject, caller.role, caller.session_id, caller.master_key_id) == ("game-1", "game_server", "", 0)


async def test_typ_is_compared_without_case(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(f"Bearer {with_header(typ='AT+JWT')}")).subject == "u_ada"


@pytest.mark.parametrize("scheme", ["bearer ", "Basic ", "", "Bearer\t"])
async def test_another_scheme_is_refused(verifier: TokenVerifier, scheme: str) -> None:
    with pytest.raises(Refused) as refused:
        await verifier.verify(scheme + token())
    assert refused.value.reason == "TOKEN_INVALID"


async def test_no_header_is_a_missing_token(verifier: TokenVerifier) -> None:
    with pytest.raises(Refused) as refused:
        await verifier.verify(None)
    assert refused.value.reason == "TOKEN_MISSING"


@pytest.mark.promise(row=28)
async def test_a_token_ends_with_the_skew_that_clocks_are_allowed(verifier: TokenVerifier) -> None:
    now = int(time.time())
    assert await verifier.verify(f"Bearer {token(exp=now - 1)}")
    with pytest.raises(Refused) as refused:
        await verifier.verify(f"Bearer {token(exp=now - int(CLOCK_SKEW_S) - 1)}")
    assert refused.value.reason == "TOKEN_EXPIRED"


async def test_a_remembered_token_ends_too(verifier: TokenVerifier) -> None:
    text = f"Bearer {token(exp=int(time.time() - CLOCK_SKEW_S) + 3)}"
    assert await verifier.verify(text) is await verifier.verify(text)

    async def has_ended() -> bool:
        try:
            await verifier.verify(text)
        except Refused as refused:
            return refused.reason == "TOKEN_EXPIRED"
        return False

    assert await eventually(has_ended)


async def test_a_new_key_is_found_when_a_token_names_it(keys: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MISS_REFRESH_S", 0.0)
    verifier = TokenVerifier(keys.url, ISSUER, AUDIENCE)
    await verifier.verify(f"Bearer {token()}")
    keys.keys.append(public_jwk(THEIRS, "k2"))
    text = jwt.encode(claims(), THEIRS, "ES256", headers={**HEADERS, "kid": "k2"})
    assert (await verifier.verify(f"Bearer {text}")).subject == "u_ada"
    assert keys.asked == 2


async def test_made_up_kids_do_not_hammer_the_endpoint(verifier: TokenVerifier, keys: Published) -> None:
    for number in range(50):
        with pytest.raises(Refused):
            await verifier.verify(f"Bearer {with_header(kid=f'made-up-{number}')}")
    assert keys.asked <= 2  # the first, and at most one more in a second


async def test_a_key_that_was_taken_away_ends_its_tokens(keys: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MISS_REFRESH_S", 0.0)
    verifier = TokenVerifier(keys.url, ISSUER, AUDIENCE)
    text = f"Bearer {token()}"
    await verifier.verify(text)
    keys.keys = [public_jwk(THEIRS, "k2")]
    with pytest.raises(Refused):
        await verifier.verify(f"Bearer {with_header(kid='k3')}")  # makes it ask again
    with pytest.raises(Refused) as refused:
        await verifier.verify(text)
    assert refused.value.reason == "TOKEN_INVALID"


async def test_keys_of_other_algorithms_are_not_taken(keys: Published) -> None:
    shared = {"kty": "oct", "k": b64url(b"a secret that everyone can read!"), "alg": "HS256", "kid": "k2"}
    keys.keys.append(shared)
    verifier = TokenVerifier(keys.url, ISSUER, AUDIENCE)
    text = jwt.encode(claims(), b"a secret that everyone can read!", "HS256", headers={**HEADERS, "kid": "k2"})
    with pytest.raises(Refused) as refused:
        await verifier.verify(f"Bearer {text}")
    assert refused.value.reason == "TOKEN_INVALID"


async def test_without_keys_the_service_is_away_and_knows_it(keys: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MISS_REFRESH_S", 0.0)
    keys.is_away = True
    verifier = TokenVerifier(keys.url, ISSUER, AUDIENCE)
    with pytest.raises(Refused) as refused:
        await verifier.verify(f"Bearer {token()}")
    assert (refused.value.reason, refused.value.retry_after_s, verifier.is_ready) == ("SERVICE_AWAY", 1, False)
    keys.is_away = False
    assert (await verifier.verify(f"Bearer {token()}")).subject == "u_ada"


async def test_an_endpoint_that_goes_away_leaves_the_keys_that_are_known(
    keys: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "MISS_REFRESH_S", 0.0)
    verifier = TokenVerifier(keys.url, ISSUER, AUDIENCE)
    await verifier.verify(f"Bearer {token()}")
    keys.is_away = True
    with pytest.raises(Refused):
        await verifier.verify(f"Bearer {with_header(kid='k2')}")
    assert (await verifier.verify(f"Bearer {token(jti='two')}")).subject == "u_ada"
