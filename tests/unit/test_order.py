"""board/order.py, board/instant.py, board/version.py: who stands before whom, and how keys carry it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.entry import BoardKey
from board.instant import from_us, to_us
from board.order import SCORE_MAX, decode_member, encode_member, encode_user, sort_key
from board.periods import BEGINNING
from board.version import shown_version, split_version

MICROSECONDS = st.integers(0, 16**13 - 1)
USERS = st.integers(0, 16**12 - 1)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_more_points_stand_first_then_who_was_there_first_then_the_lower_number() -> None:
    keys = [
        sort_key(10, NOON, 2),
        sort_key(10, NOON, 1),
        sort_key(10, NOON - timedelta(microseconds=1), 3),
        sort_key(11, NOON + timedelta(days=1), 9),
        sort_key(-5, NOON, 4),
    ]
    assert [user for _, _, user in sorted(keys)] == [9, 3, 1, 2, 4]


def test_a_member_is_time_then_number_in_hex() -> None:
    assert encode_member(from_us(1), 255) == "0000000000001" + "0000000000ff"


@given(us=MICROSECONDS, user=USERS)
def test_a_member_decodes_to_what_it_was_made_of(us: int, user: int) -> None:
    assert decode_member(encode_member(from_us(us), user)) == (from_us(us), user)


@given(a=st.tuples(MICROSECONDS, USERS), b=st.tuples(MICROSECONDS, USERS))
def test_bytes_of_members_order_as_time_and_number_do(a: tuple[int, int], b: tuple[int, int]) -> None:
    members = [encode_member(from_us(us), user).encode() for us, user in (a, b)]
    assert (members[0] < members[1]) == (a < b)


@given(score=st.integers(-SCORE_MAX, SCORE_MAX))
def test_a_score_is_exact_as_a_double(score: int) -> None:
    assert -int(float(str(-score))) == score


@pytest.mark.parametrize("user", [-1, 16**12])
def test_a_number_that_does_not_fit_is_refused(user: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_user(user)


def test_an_instant_before_1970_has_no_member() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_member(from_us(-1), 1)


@pytest.mark.parametrize("text", ["", "0" * 24, "g" * 25])
def test_what_is_no_member_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_member(text)


@given(st.integers(0, 250_000_000_000_000_000))
def test_microseconds_survive_the_way_through_an_instant(us: int) -> None:
    assert to_us(from_us(us)) == us


def test_an_instant_counts_the_same_in_every_zone() -> None:
    assert to_us(NOON.astimezone(timezone(timedelta(hours=-9)))) == to_us(NOON)


def test_a_rebuild_raises_the_version_past_all_before() -> None:
    assert shown_version(3, 0) > shown_version(2, 2**32 - 1)
    assert shown_version(2, 5) == 2 * 2**32 + 5


@given(epoch=st.integers(0, 2**21 - 1), sequence=st.integers(0, 2**32 - 1))
def test_a_version_is_exact_as_a_double_and_splits_again(epoch: int, sequence: int) -> None:
    version = shown_version(epoch, sequence)
    assert split_version(version) == (epoch, sequence)
    assert int(float(version)) == version


def test_keys_name_a_board_by_number_and_start() -> None:
    assert BoardKey(7, BEGINNING).tag == "7:0"
    assert BoardKey(7, datetime(2026, 11, 24, tzinfo=UTC)).tag == "7:1795478400"
