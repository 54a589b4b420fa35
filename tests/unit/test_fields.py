"""score_svc/fields.py: which ids and values can be read at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.catalogue import Action
from mesh.refusal import Refused
from score_svc import fields

RANGED = Action("match-result", 0, server_only=True, value_min=10, value_max=500)


def is_id(text: str) -> bool:
    try:
        fields.check_id("user_id", text)
    except Refused:
        return False
    return True


def whole(value: float) -> int | None:
    try:
        return fields.whole_number(value)
    except Refused:
        return None


@pytest.mark.parametrize("text", ["a", "u_0f", "Zoë", "日本", "x" * 50, "a b"])
def test_ids_of_1_to_50_printable_characters_are_taken(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "x" * 51, "a\nb", "a\x00", "\t", "\u202e", "\ufeff"])
def test_other_ids_are_refused_in_the_seed_s_words(text: str) -> None:
    with pytest.raises(Refused, match=r"^INVALID_ARGUMENT: The provided userId or actionId is not valid\.$"):
        fields.check_id("action_id", text)


@given(st.text())
def test_no_id_has_a_line_feed(text: str) -> None:
    assert not is_id(text + "\n" + text)


@given(st.floats())
def test_a_value_is_a_whole_number_or_nothing(value: float) -> None:
    found = whole(value)
    is_whole = math.isfinite(value) and value.is_integer() and abs(value) <= 2**53
    assert found == (int(value) if is_whole else None)


@given(st.none() | st.integers() | st.integers(9, 501))
def test_only_values_of_the_action_s_range_pass(value: int | None) -> None:
    if value is not None and 10 <= value <= 500:
        fields.check_value(RANGED, value)
    else:
        with pytest.raises(Refused, match=r"value must be 10 to 500"):
            fields.check_value(RANGED, value)


def test_an_action_with_points_takes_no_value() -> None:
    fields.check_value(Action("win-round", 50), None)
    with pytest.raises(Refused):
        fields.check_value(Action("win-round", 50), 50)
