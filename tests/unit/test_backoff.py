"""The wait after each failure of a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.queues import DELAYS_S
from worker.backoff import delay_s


@pytest.mark.parametrize(("attempt", "wait_s"), [(1, 1), (2, 5), (3, 30), (4, 120), (5, None), (50, None)])
def test_each_failure_waits_longer_until_the_job_is_given_up(attempt: int, wait_s: float | None) -> None:
    assert delay_s(attempt, DELAYS_S) == wait_s


def test_a_job_that_has_not_failed_waits_for_nothing() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        delay_s(0, DELAYS_S)


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=10).map(sorted))
def test_every_delay_is_used_once_in_order(delays: list[float]) -> None:
    waits = [delay_s(attempt, delays) for attempt in range(1, len(delays) + 2)]
    assert waits == [*delays, None]
