from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from auth_svc import refresh_token
from auth_svc.refresh import ACTIVE, BANNED, DELETED, Answer, Held, Signature, decide
from mesh.keys import b64url
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.v1 import signing

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
UNUSED = Held(NOW + timedelta(days=1), used_at=None, successor_used=False, revoked_at=None, user_state=ACTIVE)
USED = replace(UNUSED, used_at=NOW - timedelta(seconds=60))


@pytest.mark.parametrize(
    ("held", "signature", "answer"),
    [
        (UNUSED, Signature.ABSENT, Answer.ROTATE),
        (UNUSED, Signature.GOOD, Answer.ROTATE),
        (USED, Signature.GOOD, Answer.REPEAT),
        (USED, Signature.ABSENT, Answer.REVOKE),
        (USED, Signature.WRONG, Answer.REVOKE),
        (replace(USED, successor_used=True), Signature.GOOD, Answer.REVOKE),
        (replace(USED, used_at=NOW - timedelta(seconds=60, microseconds=1)), Signature.GOOD, Answer.REVOKE),
    ],
)
def test_a_token_gets_what_its_state_and_signature_say(held: Held, signature: Signature, answer: Answer) -> None:
    assert decide(held, signature, NOW) is answer


@pytest.mark.parametrize(
    ("held", "signature", "reason"),
    [
        (UNUSED, Signature.WRONG, Reason.SIGNATURE_INVALID),
        (replace(UNUSED, expires_at=NOW), Signature.GOOD, Reason.TOKEN_EXPIRED),
        (replace(UNUSED, revoked_at=NOW), Signature.GOOD, Reason.SESSION_REVOKED),
        (replace(USED, revoked_at=NOW), Signature.ABSENT, Reason.SESSION_REVOKED),
        (replace(UNUSED, user_state=BANNED), Signature.GOOD, Reason.BANNED),
        (replace(UNUSED, user_state=DELETED), Signature.GOOD, Reason.SESSION_REVOKED),
    ],
)
def test_a_token_that_is_over_says_why(held: Held, signature: Signature, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        decide(held, signature, NOW)
    assert caught.value.reason is reason


def test_a_successor_depends_on_the_token_and_on_the_servers_key() -> None:
    first = refresh_token.token_hash(refresh_token.first_token(b"a" * 32))
    other = refresh_token.token_hash(refresh_token.first_token(b"b" * 32))
    assert first is not None
    assert other is not None
    key = b"k" * 32
    follower = refresh_token.successor(key, first)
    assert follower == refresh_token.successor(key, first)
    assert follower not in (refresh_token.successor(key, other), refresh_token.successor(b"l" * 32, first))
    assert refresh_token.token_hash(follower) is not None


@pytest.mark.parametrize("token", ["", "é", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 43 + "=", b64url(b"x" * 33)])
def test_what_cannot_be_a_token_has_no_hash(token: str) -> None:
    assert refresh_token.token_hash(token) is None


def test_a_signature_binds_the_session_and_the_token() -> None:
    key, token = b"k" * 32, refresh_token.first_token(b"a" * 32)
    good = signing.sign(key, signing.refresh_payload(token))
    assert refresh_token.is_signed(key, token, good)
    assert not refresh_token.is_signed(key, refresh_token.first_token(b"b" * 32), good)
    assert not refresh_token.is_signed(b"l" * 32, token, good)
    assert not refresh_token.is_signed(key, token, "é")
