"""Cooldowns and caps of one player's action."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.catalogue import Action
from board.ledger import ActionUsage
from mesh.reasons import Reason
from worker.limits import Limit, span_needed

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
DAILY = Action("daily-bonus", 100, cap_count=1, cap_window=DAY)
COOLING = Action("spin", 5, cooldown=MINUTE)


def _run(action: Action, times: Sequence[datetime]) -> list[datetime]:
    """Decides each time in a batch of its own, as if they came in that order; returns those that counted."""
    counted: list[datetime] = []
    usage: ActionUsage | None = None
    for at in times:
        span = span_needed(at, usage, action) if usage is not None else None
        past = [time for time in counted if span is not None and span[0] <= time < span[1]]
        limit = Limit(1, action, usage, past)
        if limit.refusal(at) is None:
            usage = limit.count(at)
            counted.append(at)
    return counted


def test_a_daily_cap_ends_at_midnight_utc() -> None:
    midnight = datetime(2026, 11, 25, tzinfo=UTC)
    before, after = midnight - timedelta(microseconds=1), midnight
    assert _run(DAILY, [NOON, before, after, after + MINUTE]) == [NOON, after]


def test_the_cap_is_named_as_the_reason() -> None:
    assert (
        Limit(1, DAILY, ActionUsage(1, "daily-bonus", NOON, NOON.replace(hour=0), 1), ()).refusal(NOON + MINUTE)
        is Reason.CAP_REACHED
    )


def test_a_cooldown_ends_with_its_last_microsecond() -> None:
    early = NOON + MINUTE - timedelta(microseconds=1)
    assert Limit(1, COOLING, ActionUsage(1, "spin", NOON, NOON, 1), ()).refusal(early) is Reason.COOLDOWN
    assert Limit(1, COOLING, ActionUsage(1, "spin", NOON, NOON, 1), ()).refusal(NOON + MINUTE) is None


def test_a_refused_job_starts_no_cooldown() -> None:
    times = [NOON + n * timedelta(seconds=40) for n in range(4)]
    assert _run(COOLING, times) == [times[0], times[2]]


def test_a_late_job_is_refused_when_its_own_day_is_used_up() -> None:
    yesterday = NOON - DAY
    assert _run(DAILY, [yesterday, NOON, yesterday + MINUTE]) == [yesterday, NOON]


def test_a_late_job_counts_in_its_own_day() -> None:
    assert _run(DAILY, [NOON, NOON - DAY, NOON + MINUTE]) == [NOON, NOON - DAY]


def test_a_window_that_the_catalogue_widened_is_counted_anew() -> None:
    hourly = Action("spin", 5, cap_count=2, cap_window=timedelta(hours=1))
    daily = Action("spin", 5, cap_count=2, cap_window=DAY)
    usage = Limit(1, hourly, None, ()).count(NOON)
    span = span_needed(NOON + MINUTE, usage, daily)
    assert span is not None
    assert span[0] <= NOON < span[1]
    limit = Limit(1, daily, usage, [NOON - timedelta(hours=2), NOON])
    assert limit.refusal(NOON + MINUTE) is Reason.CAP_REACHED


@given(
    times=st.lists(st.integers(0, 5_000).map(lambda s: NOON + timedelta(seconds=s)), max_size=40),
    cooldown_s=st.none() | st.integers(1, 600),
    cap=st.none() | st.tuples(st.integers(1, 4), st.sampled_from([60, 300, 3600])),
)
def test_no_order_of_arrival_breaks_a_limit(
    times: list[datetime], cooldown_s: int | None, cap: tuple[int, int] | None
) -> None:
    action = Action(
        "spin",
        5,
        cooldown=timedelta(seconds=cooldown_s) if cooldown_s else None,
        cap_count=cap[0] if cap else None,
        cap_window=timedelta(seconds=cap[1]) if cap else None,
    )
    counted = sorted(_run(action, times))
    if action.cooldown is not None:
        assert all(b - a >= action.cooldown for a, b in itertools.pairwise(counted))
    if cap is not None:
        starts = [action.cap_window_start(at) for at in counted]
        assert all(starts.count(start) <= cap[0] for start in starts)


@pytest.mark.parametrize("action", [DAILY, COOLING])
def test_jobs_that_come_in_order_need_no_look_into_the_ledger(action: Action) -> None:
    usage = Limit(1, action, None, ()).count(NOON)
    assert span_needed(NOON, usage, action) is None
    assert span_needed(NOON + DAY, usage, action) is None
