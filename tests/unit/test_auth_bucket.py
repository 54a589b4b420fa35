"""auth_svc/bucket.py: how many attempts fit into a limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auth_svc.bucket import Limit, give_back, take

LIMIT = Limit(interval_s=3.0, burst=5)


def test_a_burst_passes_and_then_one_each_interval() -> None:
    empty_at = 0.0
    waits = []
    for _ in range(6):
        empty_at, wait_s = take(empty_at, 1000.0, LIMIT)
        waits.append(wait_s)
    assert waits == [0, 0, 0, 0, 0, 3.0]
    assert take(empty_at, 1003.0, LIMIT)[1] == 0
    assert take(empty_at, 1002.9, LIMIT)[1] > 0


def test_what_was_given_back_can_be_taken_again() -> None:
    empty_at = 0.0
    for _ in range(100):
        empty_at, wait_s = take(empty_at, 1000.0, LIMIT)
        assert wait_s == 0
        empty_at = give_back(empty_at, LIMIT)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_no_window_holds_more_than_the_burst_and_its_share(steps: list[float]) -> None:
    empty_at, now, taken = 0.0, 0.0, []
    for step in steps:
        now += step
        empty_at, wait_s = take(empty_at, now, LIMIT)
        if wait_s == 0:
            taken.append(now)
    for i, start in enumerate(taken):
        for j, end in enumerate(taken[i:], start=1):
            assert j <= LIMIT.burst + (end - start) / LIMIT.interval_s + 1e-3


def test_waiting_as_long_as_was_said_is_enough() -> None:
    empty_at, now = 1000.0 + LIMIT.burst * LIMIT.interval_s, 1000.5
    _, wait_s = take(empty_at, now, LIMIT)
    assert wait_s > 0
    assert take(empty_at, now + wait_s, LIMIT)[1] == 0
