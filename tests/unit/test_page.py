"""The limits of the contract for reading boards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard_svc import page
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.v1.leaderboard_pb2 import GetAroundRequest, GetLeaderboardRequest


def test_defaults_are_the_first_ten_of_all() -> None:
    assert page.page_of(GetLeaderboardRequest()) == page.Page("all", "", 0, 10)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_page_is_within_range_or_refused_with_its_field(limit: int, offset: int) -> None:
    request = GetLeaderboardRequest(limit=limit, offset=offset)
    try:
        answer = page.page_of(request)
    except Refused as e:
        assert e.reason is Reason.INVALID_ARGUMENT
        assert e.metadata["field"] == ("offset" if 1 <= limit <= 100 else "limit")
    else:
        assert (answer.limit, answer.offset) == (limit, offset)
        assert 1 <= limit <= 100
        assert 0 <= offset <= 10_000


def test_a_limit_of_zero_is_refused_though_an_absent_one_is_the_default() -> None:
    with pytest.raises(Refused, match="limit"):
        page.neighbours_of(GetAroundRequest(limit=0))
    assert page.neighbours_of(GetAroundRequest()) == 5


@pytest.mark.parametrize("user_id", ["", "x" * 51, "a\0b"])
def test_a_user_id_that_cannot_exist_is_refused(user_id: str) -> None:
    with pytest.raises(Refused, match="user_id"):
        page.user_of(user_id)
