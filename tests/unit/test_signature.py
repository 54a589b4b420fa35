"""score_svc/signature.py and scoreboard/v1/signing.py: what is signed, and whose signature is taken."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.identity import Identity
from mesh.keys import MasterKeys, b64url_decode
from mesh.reasons import Reason
from mesh.refusal import Refused
from score_svc import signature
from scoreboard.v1 import signing

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "docs" / "vectors" / "signature.json").read_text()
)
KEYS = MasterKeys(2, {1: b"1" * 32, 2: b"2" * 32})
UPDATE = ("u_ada", "win-round", "c.AZ")


def session(sid: str = "sid-1", key_id: int = 2) -> Identity:
    return Identity("u_ada", sid, key_id, frozenset({"update:score"}), "player", 0.0)


def signed(key_id: int = 2, sid: str = "sid-1", update: tuple[str, str, str] = UPDATE) -> str:
    return signing.sign(KEYS.signing_key(key_id, sid), signing.update_payload(*update))


def reason(identity: Identity, header: str | None, update: tuple[str, str, str] = UPDATE) -> Reason | None:
    try:
        signature.check(KEYS, identity, header, *update)
    except Refused as e:
        return e.reason
    return None


@pytest.mark.parametrize("vector", VECTORS["update"], ids=lambda v: v["user_id"])
def test_updates_are_signed_as_published(vector: dict[str, Any]) -> None:
    payload = signing.update_payload(vector["user_id"], vector["action_id"], vector["nonce"])
    assert payload.decode() == vector["payload"]
    assert signing.sign(b64url_decode(vector["signing_key"]), payload) == vector["x_signature"]


@pytest.mark.parametrize("vector", VECTORS["refresh"], ids=lambda v: v["refresh_token"])
def test_refreshes_are_signed_as_published(vector: dict[str, Any]) -> None:
    payload = signing.refresh_payload(vector["refresh_token"])
    assert payload.decode() == vector["payload"]
    assert signing.sign(b64url_decode(vector["signing_key"]), payload) == vector["x_signature"]


@pytest.mark.parametrize("vector", VECTORS["client_nonce"], ids=lambda v: v["random_hex"])
def test_client_nonces_are_made_as_published(vector: dict[str, Any]) -> None:
    assert signing.client_nonce(vector["now_ms"], bytes.fromhex(vector["random_hex"])) == vector["nonce"]


@pytest.mark.parametrize(("now_ms", "random_bytes"), [(-1, 10), (1 << 48, 10), (0, 9), (0, 11)])
def test_a_nonce_needs_48_bits_of_time_and_10_bytes_of_chance(now_ms: int, random_bytes: int) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        signing.client_nonce(now_ms, bytes(random_bytes))


def test_the_session_s_own_signature_is_taken() -> None:
    assert reason(session(), signed()) is None


def test_a_session_of_the_key_before_the_rotation_still_signs() -> None:
    assert reason(session(key_id=1), signed(key_id=1)) is None


def test_a_session_of_a_retired_key_must_log_in_again() -> None:
    assert reason(session(key_id=7), signed()) is Reason.SESSION_REVOKED


@pytest.mark.parametrize("header", [None, ""])
def test_no_signature_is_missing_not_wrong(header: str | None) -> None:
    assert reason(session(), header) is Reason.SIGNATURE_MISSING


@pytest.mark.parametrize(
    "other",
    [("u_eve", "win-round", "c.AZ"), ("u_ada", "daily-bonus", "c.AZ"), ("u_ada", "win-round", "c.BZ")],
    ids=["user", "action", "nonce"],
)
def test_a_signature_is_bound_to_each_part_of_the_payload(other: tuple[str, str, str]) -> None:
    assert reason(session(), signed(update=other)) is Reason.SIGNATURE_INVALID


def test_another_session_of_the_same_player_signs_for_itself_alone() -> None:
    assert reason(session("sid-2"), signed(sid="sid-1")) is Reason.SIGNATURE_INVALID


def test_a_token_without_a_session_signs_nothing() -> None:
    assert reason(session(""), signed(sid="")) is Reason.SIGNATURE_INVALID


def test_padding_is_not_another_spelling() -> None:
    assert reason(session(), signed() + "=") is Reason.SIGNATURE_INVALID


@given(st.text(min_size=1).filter(lambda text: text != signed()))
def test_any_other_text_is_refused(text: str) -> None:
    assert reason(session(), text) is Reason.SIGNATURE_INVALID


@given(st.binary(max_size=64))
def test_no_other_key_makes_the_same_signature(key: bytes) -> None:
    other = signing.sign(key + secrets.token_bytes(1), signing.update_payload(*UPDATE))
    assert reason(session(), other) is Reason.SIGNATURE_INVALID
