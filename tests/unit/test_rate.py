"""score_svc/rate.py: the window of a process that cannot ask Redis."""

from __future__ import annotations

import time
from collections import defaultdict
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from score_svc import rate
from score_svc.rate import LocalWindow
from tests.waiting import SCALE

STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(0, 20)), max_size=80)


@given(STEPS, st.integers(1, 10))
def test_no_window_ever_holds_more_than_the_limit(steps: list[tuple[str, int, int]], limit: int) -> None:
    window, now = LocalWindow(), 0
    taken: dict[str, list[float]] = defaultdict(list)
    known: set[tuple[str, int]] = set()
    for key, number, pause in steps:
        now += pause
        wait_s = window.take(key, UUID(int=number), limit, 60.0, now)
        if wait_s == 0 and (key, number) not in known:
            taken[key].append(now)
            known.add((key, number))
        assert 0 <= wait_s <= 60
    for times in taken.values():
        for start in times:
            assert sum(start <= at < start + 60 for at in times) <= limit


def test_a_repeat_costs_nothing() -> None:
    window = LocalWindow()
    assert [window.take("a", UUID(int=7), 1, 60, now) for now in (0, 1, 59)] == [0, 0, 0]
    assert window.take("a", UUID(int=8), 1, 60, 20) == 40


def test_a_limit_of_zero_is_none() -> None:
    window = LocalWindow()
    assert not any(window.take("a", UUID(int=n), 0, 60, 0) for n in range(100))


def test_it_forgets_the_longest_unseen_key_past_its_bound() -> None:
    window = LocalWindow()
    for number in range(rate.KEYS_MAX + 1):
        window.take(f"k{number}", UUID(int=1), 1, 60, 0)
    assert window.take("k0", UUID(int=2), 1, 60, 0) == 0
    assert window.take(f"k{rate.KEYS_MAX}", UUID(int=2), 1, 60, 0) == 60


def test_a_high_limit_costs_no_more_an_update_than_a_low_one() -> None:
    window, count = LocalWindow(), 20_000
    started = time.monotonic()
    assert all(window.take("a", UUID(int=n), count, 1, 0) == 0 for n in range(count))
    assert window.take("a", UUID(int=count), count, 1, 0) == 1
    assert time.monotonic() - started < 2 * SCALE  # looking through all that was taken, it takes ten times as long
