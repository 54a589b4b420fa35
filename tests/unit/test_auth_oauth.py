"""auth_svc/oauth.py and address.py: what comes over plain HTTP is read strictly, whatever it is."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_svc.oauth import OAuthError, credentials, parse_form
from mesh.address import UNKNOWN, client_address
from mesh.client_secret import new_secret, secret_hash, secret_matches


@pytest.mark.parametrize(
    ("header", "hops", "address"),
    [
        (None, 0, UNKNOWN),
        ("", 0, UNKNOWN),
        ("not an address", 0, UNKNOWN),
        ("203.0.113.9:", 0, UNKNOWN),
        ("[2001:db8::1", 0, UNKNOWN),
        ("[2001:db8::1]x", 0, UNKNOWN),
        ("\udcff", 0, UNKNOWN),
        ("203.0.113.9", 0, "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", 0, "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.0.0.1", 1, "203.0.113.9"),
        ("203.0.113.9", 1, UNKNOWN),
        ("::ffff:203.0.113.9", 0, "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", 0, "2001:db8:1:2::/64"),
        # Some proxies write the port, too.
        ("1.1.1.1, 203.0.113.9:51234, 10.0.0.1", 1, "203.0.113.9"),
        ("[2001:db8:1:2:3:4:5:6]:51234, 10.0.0.1", 1, "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3:4:5:6], 10.0.0.1", 1, "2001:db8:1:2::/64"),
    ],
)
def test_the_address_is_what_our_own_proxy_saw(header: str | None, hops: int, address: str) -> None:
    assert client_address(header, hops) == address


def error_of(run: Callable[[], object]) -> tuple[str, int] | None:
    try:
        run()
    except OAuthError as error:
        return error.error, error.status
    return None


@given(st.binary(max_size=200))
def test_any_body_is_a_form_or_an_invalid_request(body: bytes) -> None:
    assert error_of(lambda: parse_form(body)) in (None, ("invalid_request", 400))


@given(st.text(max_size=100))
def test_any_header_is_a_pair_or_an_invalid_client(header: str) -> None:
    for value in (header, "Basic " + base64.b64encode(header.encode()).decode()):
        assert error_of(partial(credentials, value, {})) in (None, ("invalid_client", 401))


def test_basic_credentials_are_form_encoded() -> None:
    header = "basic " + base64.b64encode(b"a%3Ab:se+cr%25et").decode()
    assert credentials(header, {}) == ("a:b", "se cr%et")


def test_two_ways_to_authenticate_are_refused() -> None:
    header = "Basic " + base64.b64encode(b"a:b").decode()
    with pytest.raises(OAuthError, match="invalid_request"):
        credentials(header, {"client_id": "a", "client_secret": "b"})


def test_a_clients_secret_fits_its_own_hash_alone() -> None:
    secret = new_secret()
    assert len(secret) == 43
    assert secret not in secret_hash(secret)
    assert secret_matches(secret, secret_hash(secret))
    assert not secret_matches(new_secret(), secret_hash(secret))
    assert not secret_matches(secret, "nonsense")
