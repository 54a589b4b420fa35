"""auth_svc/key_wrap.py: a private key is as safe in the table as the master key, and what is published is public."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.exceptions import InvalidTag

from auth_svc import key_wrap
from mesh.keys import MasterKeys


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
