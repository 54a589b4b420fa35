"""The limits of the contract for reading boards."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard_svc import http, page
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.v1.leaderboard_pb2 import GetAroundRequest, GetLeaderboardRequest


def test_defaults_are_the_first_ten_of_all() -> None:
    assert page.page_of(GetLeaderboardRequest()) == page.Page("all", "", 0, 10)


@given(st.integers(1, 100), st.integers(0, 10_000))
def test_a_page_within_range_is_taken_as_it_is(limit: int, offset: int) -> None:
    answer = page.page_of(GetLeaderboardRequest(limit=limit, offset=offset))
    assert (answer.limit, answer.offset) == (limit, offset)


INT32 = st.integers(-(2**31), 2**31 - 1)


@given(INT32.filter(lambda n: not 1 <= n <= 100), INT32)
def test_a_limit_out_of_range_is_refused_whatever_the_offset(limit: int, offset: int) -> None:
    with pytest.raises(Refused) as refusal:
        page.page_of(GetLeaderboardRequest(limit=limit, offset=offset))
    assert (refusal.value.reason, refusal.value.metadata) == (Reason.INVALID_ARGUMENT, {"field": "limit"})


@given(INT32.filter(lambda n: not 0 <= n <= 10_000))
def test_an_offset_out_of_range_is_refused(offset: int) -> None:
    with pytest.raises(Refused) as refusal:
        page.page_of(GetLeaderboardRequest(offset=offset))
    assert (refusal.value.reason, refusal.value.metadata) == (Reason.INVALID_ARGUMENT, {"field": "offset"})


def test_a_limit_of_zero_is_refused_though_an_absent_one_is_the_default() -> None:
    with pytest.raises(Refused, match="limit"):
        page.neighbours_of(GetAroundRequest(limit=0))
    assert page.neighbours_of(GetAroundRequest()) == 5


@pytest.mark.parametrize("user_id", ["", "x" * 51, "a\0b"])
def test_a_user_id_that_cannot_exist_is_refused(user_id: str) -> None:
    with pytest.raises(Refused, match="user_id"):
        page.user_of(user_id)


@pytest.mark.parametrize(
    "query", ["board=%ff", "&".join(f"a{n}=" for n in range(17)), "limit", "limit=1&limit=2", "x=1"]
)
def test_a_query_that_means_nothing_is_refused(query: str) -> None:
    with pytest.raises(Refused) as refusal:
        http._page_of(query)
    assert refusal.value.reason is Reason.INVALID_ARGUMENT


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda data: data.decode("latin-1"))))
def test_any_query_is_a_page_or_refused(query: str) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(http._page_of(query), page.Page)
