"""board/periods.py: which period an instant falls into, over zones and their clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from board.periods import ALL_TIME, Period, PeriodKind, period_after, period_at, period_before, select_period

UTC_ZONE = ZoneInfo("UTC")
KINDS = st.sampled_from([PeriodKind.DAY, PeriodKind.WEEK, PeriodKind.MONTH])
# Among them: midnights that were skipped (São Paulo, Beirut), repeated (Havana, St John's), and a lost day (Apia).
ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in (
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "America/Sao_Paulo",
            "America/Havana",
            "America/St_Johns",
            "Asia/Beirut",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "Pacific/Kiritimati",
        )
    ]
)
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 1), timezones=st.just(UTC))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@given(kind=KINDS, zone=ZONES, instant=INSTANTS)
@settings(max_examples=400)
def test_every_instant_lies_in_its_period_and_neighbours_meet(
    kind: PeriodKind, zone: ZoneInfo, instant: datetime
) -> None:
    period = period_at(kind, zone, instant)
    assert period.start <= instant < period.end
    before, after = period_before(kind, zone, period), period_after(kind, zone, period)
    assert before is not None
    assert after is not None
    assert before.end == period.start
    assert after.start == period.end
    assert len({before.label, period.label, after.label}) == 3


@given(kind=KINDS, zone=ZONES, instant=INSTANTS, part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=400)
def test_all_instants_of_a_period_have_that_period(
    kind: PeriodKind, zone: ZoneInfo, instant: datetime, part: float
) -> None:
    period = period_at(kind, zone, instant)
    inside = period.start + (period.end - period.start) * part
    assert period_at(kind, zone, min(inside, period.end - timedelta(microseconds=1))) == period


@given(kind=KINDS, zone=ZONES, instant=INSTANTS)
def test_a_label_selects_its_period(kind: PeriodKind, zone: ZoneInfo, instant: datetime) -> None:
    period = period_at(kind, zone, instant)
    now = _at("2026-11-24T12:00Z")
    assert select_period(kind, zone, period.label, now) == period


@pytest.mark.parametrize(
    ("kind", "instant", "expected"),
    [
        (PeriodKind.DAY, "2026-11-24T23:59:59.999999Z", ("2026-11-24T00:00Z", "2026-11-25T00:00Z", "2026-11-24")),
        (PeriodKind.DAY, "2026-11-25T00:00Z", ("2026-11-25T00:00Z", "2026-11-26T00:00Z", "2026-11-25")),
        (PeriodKind.WEEK, "2026-11-24T12:00Z", ("2026-11-23T00:00Z", "2026-11-30T00:00Z", "2026-W48")),
        (PeriodKind.WEEK, "2027-01-01T12:00Z", ("2026-12-28T00:00Z", "2027-01-04T00:00Z", "2026-W53")),
        (PeriodKind.MONTH, "2028-02-29T12:00Z", ("2028-02-01T00:00Z", "2028-03-01T00:00Z", "2028-02")),
    ],
)
def test_days_weeks_and_months_begin_where_the_calendar_says(
    kind: PeriodKind, instant: str, expected: tuple[str, str, str]
) -> None:
    start, end, label = expected
    assert period_at(kind, UTC_ZONE, _at(instant)) == Period(_at(start), _at(end), label)


@pytest.mark.parametrize(
    ("zone", "instant", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", 23),  # the clock goes forward at night
        ("Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", 25),  # and back
        ("America/Sao_Paulo", "2018-11-04T12:00Z", "2018-11-04T03:00Z", 23),  # no midnight: the day begins at one
        ("America/Havana", "2026-11-01T12:00Z", "2026-11-01T04:00Z", 25),  # two midnights: the first
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(zone: str, instant: str, start: str, hours: int) -> None:
    day = period_at(PeriodKind.DAY, ZoneInfo(zone), _at(instant))
    assert day.start == _at(start)
    assert day.end - day.start == timedelta(hours=hours)


def test_a_date_that_a_zone_left_out_has_no_period() -> None:
    apia = ZoneInfo("Pacific/Apia")  # went from 29 to 31 December 2011
    period = period_at(PeriodKind.DAY, apia, _at("2011-12-30T09:59:59Z"))
    assert period.label == "2011-12-29"
    after = period_after(PeriodKind.DAY, apia, period)
    assert after is not None
    assert after.label == "2011-12-31"
    assert select_period(PeriodKind.DAY, apia, "2011-12-30", _at("2026-01-01T00:00Z")) is None


def test_a_board_without_periods_has_one_for_all_time() -> None:
    now = _at("2026-11-24T12:00Z")
    for selector in ("", "current", "all-time"):
        assert select_period(PeriodKind.NONE, UTC_ZONE, selector, now) == ALL_TIME
    assert select_period(PeriodKind.NONE, UTC_ZONE, "previous", now) is None
    assert select_period(PeriodKind.NONE, UTC_ZONE, "2026-11-24", now) is None


def test_selectors_name_this_period_and_the_one_before() -> None:
    now = _at("2026-03-01T12:00Z")
    for selector, label in (("", "2026-03"), ("current", "2026-03"), ("previous", "2026-02")):
        period = select_period(PeriodKind.MONTH, UTC_ZONE, selector, now)
        assert period is not None
        assert period.label == label


@pytest.mark.parametrize(
    "label",
    [
        "2026-02-30",
        "2026-W54",
        "2026-W00",
        "0000-01-01",
        "9999-12-31",
        "2026-11",
        "2026-W48",
        "26-11-24",
        "x",
        "٢٠٢٦-11-24",
    ],
)
def test_what_is_no_day_selects_nothing(label: str) -> None:
    assert select_period(PeriodKind.DAY, UTC_ZONE, label, _at("2026-11-24T12:00Z")) is None
