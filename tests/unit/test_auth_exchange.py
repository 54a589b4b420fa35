"""auth_svc/exchange.py and oauth.py: which subjects become user ids, under which names, and which exchanges we do."""

from __future__ import annotations

import pytest

from auth_svc.exchange import ACCESS_TOKEN, SUBJECT_TOKENS, check_subject, shown_name
from auth_svc.oauth import OAuthError, check_exchange
from mesh.refusal import Refused

FORM = {"subject_token": "x.y.z", "subject_token_type": SUBJECT_TOKENS[0]}


@pytest.mark.parametrize(
    "subject", ["a", "7", "anna.b_c-d", "steam:76561198000000000", "x" * 50, "U_1", "client", "uu_"]
)
def test_a_safe_subject_is_the_user_id(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "x" * 51,
        " a",
        "a b",
        "a\n",
        "a\0",
        "é",
        "a/b",
        "auth0|1",
        "a@b",
        "..",
        ".a",
        "-a",
        "u_0f",
        "erased_7",
        "client:m",
    ],
)
def test_any_other_subject_is_refused_with_words(subject: str) -> None:
    with pytest.raises(Refused, match="TOKEN_INVALID: The subject cannot be a user id"):
        check_subject(subject)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": " Anna ", "preferred_username": "anna7"}, "Anna"),
        ({"preferred_username": "anna7"}, "anna7"),
        ({"name": "a\u202eb", "preferred_username": "anna7"}, "anna7"),
        ({"name": "x" * 101, "preferred_username": "anna7"}, "anna7"),
        ({"name": ["Anna"], "preferred_username": "anna7"}, "anna7"),
        ({"name": None, "preferred_username": "anna7"}, "anna7"),
    ],
)
def test_the_first_good_claim_is_the_name(claims: dict[str, object], name: str) -> None:
    assert shown_name(claims) == name


@pytest.mark.parametrize("claims", [{}, {"name": "", "preferred_username": 7}])
def test_without_a_good_claim_a_name_is_made_up(claims: dict[str, object]) -> None:
    assert shown_name(claims).startswith("Player ")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"subject_token_type": SUBJECT_TOKENS[1]},
        {"requested_token_type": ACCESS_TOKEN, "audience": "scoreboard"},
        {"client_id": "whoever", "scope": "update:score"},
    ],
)
def test_what_we_can_do_gives_the_subject_token(more: dict[str, str]) -> None:
    assert check_exchange(FORM | more, "scoreboard") == "x.y.z"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"subject_token_type": SUBJECT_TOKENS[0]}, "invalid_request"),
        ({"subject_token": "x.y.z"}, "invalid_request"),
        (FORM | {"subject_token_type": ACCESS_TOKEN}, "invalid_request"),
        (FORM | {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        (FORM | {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        (FORM | {"actor_token": "x.y.z"}, "invalid_request"),
        (FORM | {"actor_token_type": SUBJECT_TOKENS[0]}, "invalid_request"),
        (FORM | {"resource": "https://elsewhere.test"}, "invalid_target"),
        (FORM | {"audience": "another"}, "invalid_target"),
    ],
)
def test_what_we_cannot_do_is_refused(form: dict[str, str], error: str) -> None:
    with pytest.raises(OAuthError) as refused:
        check_exchange(form, "scoreboard")
    assert (refused.value.error, refused.value.status) == (error, 400)
