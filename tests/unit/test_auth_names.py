"""board/username.py and auth_svc/password.py: which names and passwords are good, and which names are the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_svc.password import COMMON, check_new_password, check_password
from board.username import check_username
from mesh.reasons import Reason
from mesh.refusal import Refused


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada", "ADA"),
        ("Straße", "STRASSE"),
        ("Zoë", "Zoe\u0308"),
        ("ﬁn", "FIN"),
        ("a b", "  a   b "),
        ("a\u200db", "ab"),
        ("❤", "❤\ufe0f"),
    ],
)
def test_names_that_look_alike_are_the_same(one: str, other: str) -> None:
    assert check_username(one).key == check_username(other).key


def test_a_name_is_shown_as_it_was_given() -> None:
    assert check_username(" Zoë 👩\u200d🚀 ").shown == "Zoë 👩\u200d🚀"


def test_a_name_has_100_characters_at_most_as_it_was_sent() -> None:
    """By what openapi.json promises: a name that is too long for it is not good once its outer spaces are gone."""
    assert check_username(" " + 99 * "x").shown == 99 * "x"
    with pytest.raises(Refused, match="1 to 100"):
        check_username(" " + 100 * "x")


def refusal_of(check: Callable[[str], object], text: str) -> Refused | None:
    try:
        check(text)
    except Refused as refused:
        return refused
    return None


@given(st.text(max_size=130))
def test_any_text_is_a_good_name_or_refused_by_field(text: str) -> None:
    refused = refusal_of(check_username, text)
    if refused is not None:
        assert (refused.reason, refused.metadata) == (Reason.INVALID_ARGUMENT, {"field": "username"})
        return
    name = check_username(text)
    assert 1 <= len(name.shown) <= 100
    assert 1 <= len(name.key) <= 100
    assert len(name.key.encode()) < 2704  # what an entry of Postgres's index holds
    assert check_username(name.key).key == name.key


@given(st.text(max_size=140))
def test_any_text_is_a_good_password_or_refused_by_field(text: str) -> None:
    refused = refusal_of(check_password, text)
    assert (refused is None) == (8 <= len(text) <= 128)
    assert refused is None or refused.metadata == {"field": "password"}


def test_a_password_is_the_same_composed_or_not() -> None:
    assert check_password("pässword") == check_password("pa\u0308ssword")


@pytest.mark.parametrize(
    "text", ["password", "PassWord123", "qwertyuiop", "11111111", "Scoreboard", "Ada Lovelace", "ada  lovelace"]
)
def test_a_new_password_is_not_what_everybody_tries_first(text: str) -> None:
    refused = refusal_of(lambda text: check_new_password(text, "Ada Lovelace", "new_password"), text)
    assert refused is not None
    assert (refused.reason, refused.metadata) == (Reason.INVALID_ARGUMENT, {"field": "new_password"})
    assert check_password(text), "one that was set before stays good"


def test_the_list_of_common_passwords_is_long_enough() -> None:
    assert len([word for word in COMMON if len(word) >= 8]) > 3_000  # ASVS 5.0, 6.2.4
    assert check_new_password("correct horse battery", "") == b"correct horse battery"
