from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.exceptions import InvalidTag

from auth_svc import key_wrap
from auth_svc.rotation import CLOCK_SKEW_S, JWKS_CACHE_S, PUBLISH_AHEAD, KeyTimes, Schedule, signer
from mesh.keys import MasterKeys

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SCHEDULE = Schedule(key_life_s=86_400, token_life_s=600)
TOKEN_LIFE = timedelta(seconds=600)
CACHE = timedelta(seconds=JWKS_CACHE_S)


def test_the_first_key_signs_at_once() -> None:
    sign_from = SCHEDULE.next_sign_from([], NOW)
    assert sign_from is not None
    key = KeyTimes("a", sign_from, sign_from, None)
    assert signer([key], NOW) is key
    assert SCHEDULE.next_sign_from([key], NOW) is None


def test_keys_that_cannot_be_unwrapped_are_replaced_at_once() -> None:
    lost = KeyTimes("a", NOW, NOW, None, can_sign=False)
    sign_from = SCHEDULE.next_sign_from([lost], NOW)
    assert sign_from is not None
    assert sign_from <= NOW


def test_over_many_rotations_a_token_is_always_verifiable() -> None:
    """Each minute for ten days: what signs now was published a cache life ago, and stays until its tokens are over."""
    keys: list[KeyTimes] = []
    published: list[tuple[datetime, set[str]]] = []
    signed: list[tuple[datetime, str]] = []
    now = NOW
    while now < NOW + timedelta(days=10):
        sign_from = SCHEDULE.next_sign_from(keys, now)
        if sign_from is not None:
            end = SCHEDULE.retire_at(sign_from)
            keys = [key if key.retire_at else KeyTimes(key.kid, key.publish_from, key.sign_from, end) for key in keys]
            keys.append(KeyTimes(f"k{len(keys)}", min(now, sign_from), sign_from, None))
        chosen = signer(keys, now)
        assert chosen is not None
        signed.append((now, chosen.kid))
        published.append((now, {key.kid for key in keys if key.is_published(now)}))
        now += timedelta(minutes=1)
    lists = dict(published)
    assert len({kid for _, kid in signed}) == 10
    assert max(len(kids) for kids in lists.values()) == 2
    for at, kid in signed:
        before = at - timedelta(minutes=1)
        assert kid == "k0" or kid in lists[before]
        last = at + TOKEN_LIFE + timedelta(minutes=1)
        assert last not in lists or kid in lists[last]


def test_an_old_key_stays_for_a_tokens_life_the_cache_and_the_skew() -> None:
    stays = SCHEDULE.retire_at(NOW) - NOW
    assert stays >= TOKEN_LIFE + CACHE + timedelta(seconds=CLOCK_SKEW_S)
    assert PUBLISH_AHEAD > CACHE


def test_a_private_key_comes_back_with_its_master_key_alone() -> None:
    keys = MasterKeys(current=1, keys={1: b"m" * 32})
    new = key_wrap.make_key()
    wrapped = key_wrap.wrap(keys, new.kid, new.private_key)
    assert key_wrap.unwrap(keys, new.kid, wrapped).private_numbers() == new.private_key.private_numbers()
    assert key_wrap.wrapped_with(wrapped) == 1
    with pytest.raises(KeyError):
        key_wrap.unwrap(MasterKeys(current=2, keys={2: b"m" * 32}), new.kid, wrapped)
    with pytest.raises(InvalidTag):
        key_wrap.unwrap(MasterKeys(current=1, keys={1: b"n" * 32}), new.kid, wrapped)
    with pytest.raises(InvalidTag):
        key_wrap.unwrap(keys, "another kid", wrapped)


def test_what_is_published_holds_no_private_part_and_verifies() -> None:
    new = key_wrap.make_key()
    jwk = json.loads(new.public_jwk)
    assert jwk.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    token = jwt.encode({"sub": "u"}, new.private_key, "ES256")
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["ES256"]) == {"sub": "u"}
