"""The pure rules of admin_svc: fields, keys of acts, the windows of the ledger, who stands above whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin_svc import act_id, fields
from admin_svc.ledger_query import QUICK_S, SLOW_S, WIDTH_MAX, WIDTH_MIN, next_width
from admin_svc.operators import is_above
from board.ledger import Kind
from board.update_id import derive_update_id, reversal_id, time_ms
from mesh.refusal import Refused

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def uuid7(age: timedelta) -> str:
    ms = int((NOW - age).timestamp() * 1000)
    return str(derive_update_id(ms, reporter="", user_id="", nonce="n"))


BAD: dict[str, Callable[[], object]] = {
    "no reason": lambda: fields.reason(""),
    "a blank reason": lambda: fields.reason(" \t "),
    "a reason of 501": lambda: fields.reason("x" * 501),
    "a reason of two lines": lambda: fields.reason("a\nb"),
    "a reason with NUL": lambda: fields.reason("a\0b"),
    "a reason with a line separator": lambda: fields.reason("a\u2028b"),
    "an optional reason of 501": lambda: fields.reason("x" * 501, may_be_empty=True),
    "no id": lambda: fields.name("user_id", ""),
    "an id of 51": lambda: fields.name("user_id", "x" * 51),
    "an id with NUL": lambda: fields.name("user_id", "a\0"),
    "no uuid": lambda: fields.uuid("update_id", "x" * 36),
    "a uuid in braces": lambda: fields.uuid("update_id", "{" + str(uuid4())[:-2] + "}"),
    "a request id of version 4": lambda: fields.request_id(str(uuid4()), NOW),
    "a request id of the day before yesterday": lambda: fields.request_id(uuid7(timedelta(hours=25)), NOW),
    "a request id of the day after tomorrow": lambda: fields.request_id(uuid7(timedelta(hours=-25)), NOW),
    "a change of 0": lambda: fields.change(0.0),
    "a change of a half": lambda: fields.change(0.5),
    "a change past 2^53": lambda: fields.change(2.0**53 + 2),
    "an infinite change": lambda: fields.change(-math.inf),
    "a change that is no number": lambda: fields.change(math.nan),
    "a limit of 0": lambda: fields.limit(0, 10, 100),
    "a limit of 101": lambda: fields.limit(101, 10, 100),
    "a date alone": lambda: fields.instant("since", "2026-11-27"),
    "an instant without a zone": lambda: fields.instant("since", "2026-11-27T00:00:00"),
    "an instant of the year 10000": lambda: fields.instant("since", "10000-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_field_that_breaks_its_rule_is_refused(what: str) -> None:
    with pytest.raises(Refused, match="INVALID_ARGUMENT"):
        BAD[what]()


def test_a_good_field_is_taken_as_it_is_meant() -> None:
    assert fields.reason("  gone 日本 wild  ") == "gone 日本 wild"
    assert fields.reason("x" * 500) == "x" * 500
    assert fields.reason("", may_be_empty=True) == ""
    assert fields.name("user_id", "x" * 50) == "x" * 50
    for age in (timedelta(), timedelta(hours=23), timedelta(hours=-23)):
        assert str(fields.request_id(uuid7(age), NOW)) == uuid7(age)
    assert (fields.change(-3.0), fields.change(2.0**53), fields.change(-(2.0**53))) == (-3, 2**53, -(2**53))
    assert (fields.limit(None, 10, 100), fields.limit(1, 10, 100), fields.limit(100, 10, 100)) == (10, 1, 100)
    assert fields.instant("since", "") is None
    assert fields.instant("since", "2026-11-27T13:00:00.5+01:00") == NOW + timedelta(seconds=0.5)


def test_a_change_of_state_has_one_key_a_day_until_it_is_done() -> None:
    key = act_id.of_state(Kind.BAN, 1, 5, NOW_MS)
    assert act_id.of_state(Kind.BAN, 1, 5, NOW_MS + 3_600_000) == key
    others = {
        act_id.of_state(Kind.UNBAN, 1, 5, NOW_MS),
        act_id.of_state(Kind.BAN, 2, 5, NOW_MS),
        act_id.of_state(Kind.BAN, 1, 6, NOW_MS),
        act_id.of_state(Kind.BAN, 1, 5, NOW_MS + 86_400_000),
        reversal_id(key),
    }
    assert len(others - {key}) == 5
    assert 0 <= NOW_MS - time_ms(key) < 86_400_000
    assert key.version == 7


def test_a_request_has_one_key_an_operator_and_player() -> None:
    request = UUID(uuid7(timedelta()))
    key = act_id.of_request(request, "op_1", 1)
    assert act_id.of_request(request, "op_1", 1) == key
    assert len({key, act_id.of_request(request, "op_2", 1), act_id.of_request(request, "op_1", 2)}) == 3
    assert time_ms(key) == NOW_MS
    assert act_id.of_now("op_1", 1, NOW_MS) != act_id.of_now("op_1", 1, NOW_MS)


@given(st.lists(st.floats(0, 10), max_size=40))
def test_a_window_stays_within_its_bounds(took: list[float]) -> None:
    width = timedelta(minutes=1)
    for took_s in took:
        before, width = width, next_width(width, took_s)
        assert WIDTH_MIN <= width <= WIDTH_MAX
        if took_s > SLOW_S:
            assert width == max(before / 2, WIDTH_MIN)
        elif took_s >= QUICK_S:
            assert width == before


def test_a_role_stands_above_those_that_may_do_less() -> None:
    assert is_above("admin", "operator")
    assert is_above("operator", "moderator")
    assert not is_above("moderator", "moderator")
    assert not is_above("player", "moderator")
