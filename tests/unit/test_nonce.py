"""score_svc/nonce.py: two forms, one spelling each, a seal, and a life."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mesh.keys import MasterKeys, b64url, b64url_decode
from mesh.reasons import Reason
from mesh.refusal import Refused
from score_svc import nonce
from scoreboard.v1.signing import client_nonce, uuid7

NOW = 1_795_564_800_000
LIFE = nonce.LIFE_MS
KEYS = MasterKeys(2, {1: b"1" * 32, 2: b"2" * 32})
BEFORE = MasterKeys(1, {1: b"1" * 32})
TIMES = st.integers(0, (1 << 48) - 1)
CHANCE = st.binary(min_size=10, max_size=10)
IDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=50)


def issued(user_id: str = "u_ada", action_id: str = "win-round", now_ms: int = NOW, keys: MasterKeys = KEYS) -> str:
    return nonce.issue(keys, user_id, action_id, now_ms, b"0123456789")


def seal_reason(text: str, user_id: str = "u_ada", action_id: str = "win-round", keys: MasterKeys = KEYS) -> str | None:
    try:
        nonce.check_seal(nonce.parse(text), keys, user_id, action_id)
    except Refused as e:
        return e.reason
    return None


def is_malformed(text: str) -> bool:
    try:
        nonce.parse(text)
    except Refused as e:
        return e.reason is Reason.NONCE_MALFORMED
    return False


@given(TIMES, CHANCE)
def test_a_client_s_nonce_is_read_as_it_was_made(now_ms: int, chance: bytes) -> None:
    text = client_nonce(now_ms, chance)
    parsed = nonce.parse(text)
    assert (parsed.text, parsed.time_ms, parsed.is_issued) == (text, now_ms, False)
    assert len(text) <= 128


@given(IDS, IDS, st.integers(0, (1 << 48) - 1 - LIFE), CHANCE)
def test_an_issued_nonce_opens_for_whom_it_was_issued(user_id: str, action_id: str, now_ms: int, chance: bytes) -> None:
    text = nonce.issue(KEYS, user_id, action_id, now_ms, chance)
    parsed = nonce.parse(text)
    assert (parsed.time_ms, parsed.is_issued) == (now_ms, True)
    assert len(text) <= 128
    nonce.check_seal(parsed, KEYS, user_id, action_id)


@given(st.text(max_size=200))
def test_other_texts_are_malformed(text: str) -> None:
    assert is_malformed(text)


@given(st.sampled_from(["s.", "c."]), st.binary(max_size=100))
def test_other_contents_are_malformed(form: str, data: bytes) -> None:
    uuid = data[2:18] if form == "s." else data
    is_uuid7 = len(uuid) == 16 and uuid[6] >> 4 == 7 and uuid[8] >> 6 == 2
    assume(not (is_uuid7 and len(data) == (56 if form == "s." else 16)))
    assert is_malformed(form + b64url(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "=",
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: text.upper(),
        lambda text: text[2:],
        lambda text: "x." + text[2:],
        lambda text: "s." + text[2:],
        lambda text: text + "A" * 200,
        lambda text: text.replace(text[5], "+", 1),
    ],
)
def test_a_client_s_nonce_has_one_spelling(change: object) -> None:
    assert callable(change)
    assert is_malformed(change(client_nonce(NOW, b"9876543210")))


def test_bits_that_base64_drops_are_no_second_spelling() -> None:
    text = client_nonce(NOW, bytes(10))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = text[:-1] + alphabet[alphabet.index(text[-1]) + 1]
    assert is_malformed(twin)


@pytest.mark.parametrize("version", [1, 4, 6, 8])
def test_a_uuid_of_another_version_is_malformed(version: int) -> None:
    data = bytearray(uuid7(NOW, bytes(10)))
    data[6] = version << 4
    assert is_malformed("c." + b64url(bytes(data)))


@pytest.mark.promise(row=24)
def test_a_nonce_is_bound_to_player_and_action() -> None:
    assert seal_reason(issued()) is None
    assert seal_reason(issued(), user_id="u_eve") == "NONCE_MISMATCH"
    assert seal_reason(issued(), action_id="daily-bonus") == "NONCE_MISMATCH"


@pytest.mark.promise(row=30)
def test_a_nonce_of_the_key_before_the_rotation_stays_good_and_a_retired_key_s_does_not() -> None:
    old = issued(keys=BEFORE)
    assert seal_reason(old) is None
    assert seal_reason(old, keys=MasterKeys(2, {2: b"2" * 32})) == "NONCE_MISMATCH"


@pytest.mark.promise(row=24)
@given(st.integers(0, 55), st.integers(1, 255))
def test_no_byte_of_a_sealed_nonce_can_be_changed(place: int, change: int) -> None:
    data = bytearray(b64url_decode(issued()[2:]))
    data[place] ^= change
    text = "s." + b64url(bytes(data))
    assert is_malformed(text) or seal_reason(text) == "NONCE_MISMATCH"


@pytest.mark.promise(row=24)
@pytest.mark.parametrize(("age_ms", "is_over"), [(0, False), (LIFE, False), (LIFE + 1, True), (10 * LIFE, True)])
def test_both_forms_live_five_minutes(age_ms: int, is_over: bool) -> None:
    for text in (issued(), client_nonce(NOW, bytes(10))):
        assert nonce.is_expired(nonce.parse(text), NOW + age_ms) is is_over


def test_a_client_s_clock_may_be_30_seconds_ahead_and_no_more() -> None:
    parsed = nonce.parse(client_nonce(NOW, bytes(10)))
    assert not nonce.is_expired(parsed, NOW - 30_000)
    with pytest.raises(Refused) as refused:
        nonce.is_expired(parsed, NOW - 30_001)
    assert refused.value.reason is Reason.NONCE_MALFORMED
