"""Decides into which period of a board an instant falls.

Pure. A period begins at a local midnight: of each day, of each Monday (ISO weeks) or of each first of a month.
Holds always: every instant lies in exactly one period, a period ends where the next begins, and no period is empty.
Two rules of clocks are met by that: a midnight that a zone skips begins where the clock goes on, one that it repeats
begins at its first time, and a date that a zone leaves out has no period.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo

# Postgres' infinities, as asyncpg reads and writes them. Without a zone: good for equality, not for comparison.
BEGINNING = datetime.min
END = datetime.max

_DAY = timedelta(days=1)
_LABEL = re.compile(r"(\d{4})-(?:W(\d{2})|(\d{2})(?:-(\d{2}))?)", re.ASCII)


class PeriodKind(IntEnum):
    """When a board starts anew, as the table `boards` stores it."""

    NONE = 0
    DAY = 1
    WEEK = 2
    MONTH = 3


@dataclass(frozen=True, slots=True)
class Period:
    """One occurrence, [start, end). Both have a zone, but for ALL_TIME."""

    start: datetime
    end: datetime
    label: str


ALL_TIME = Period(BEGINNING, END, "all-time")


def period_at(kind: PeriodKind, zone: ZoneInfo, instant: datetime) -> Period:
    """Returns the period in which the instant lies."""
    if kind is PeriodKind.NONE:
        return ALL_TIME
    first = _first_day(kind, instant.astimezone(zone).date())
    # A clock set back over midnight repeats part of a date: the local date alone may be one too far, or one short.
    while _midnight(first, zone) > instant:
        first = _first_day(kind, first - _DAY)
    while (end := _midnight(following := _following(kind, first), zone)) <= instant:
        first = following
    return Period(_midnight(first, zone), end, _LABELS[kind](first))


def period_before(kind: PeriodKind, zone: ZoneInfo, period: Period) -> Period | None:
    """Returns the period that ends where this one begins; None for a board without periods."""
    if kind is PeriodKind.NONE:
        return None
    return period_at(kind, zone, period.start - timedelta(microseconds=1))


def period_after(kind: PeriodKind, zone: ZoneInfo, period: Period) -> Period | None:
    """Returns the period that begins where this one ends; None for a board without periods."""
    return None if kind is PeriodKind.NONE else period_at(kind, zone, period.end)


def select_period(kind: PeriodKind, zone: ZoneInfo, selector: str, now: datetime) -> Period | None:
    """Returns the period that a caller names: empty or `current`, `previous`, or a label. None: no such one."""
    current = period_at(kind, zone, now)
    if selector in ("", "current"):
        return current
    if selector == "previous":
        return period_before(kind, zone, current)
    return _labelled(kind, zone, selector)


def _labelled(kind: PeriodKind, zone: ZoneInfo, label: str) -> Period | None:
    if kind is PeriodKind.NONE:
        return ALL_TIME if label == ALL_TIME.label else None
    if not (parts := _LABEL.fullmatch(label)):
        return None
    year, week, month, day = parts.groups()
    try:
        day_one = date.fromisocalendar(int(year), int(week), 1) if week else date(int(year), int(month), int(day or 1))
        period = period_at(kind, zone, _midnight(day_one, zone))
    except (ValueError, OverflowError):  # no such date, or past the calendar's end
        return None
    return period if period.label == label else None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def _first_day(kind: PeriodKind, day: date) -> date:
    match kind:
        case PeriodKind.WEEK:
            return day - day.weekday() * _DAY
        case PeriodKind.MONTH:
            return day.replace(day=1)
        case _:
            return day


def _following(kind: PeriodKind, first: date) -> date:
    match kind:
        case PeriodKind.WEEK:
            return first + 7 * _DAY
        case PeriodKind.MONTH:
            return (first.replace(day=28) + 4 * _DAY).replace(day=1)
        case _:
            return first + _DAY


def _week_label(first: date) -> str:
    year, week, _ = first.isocalendar()
    return f"{year:04d}-W{week:02d}"


_LABELS: dict[PeriodKind, Callable[[date], str]] = {
    PeriodKind.DAY: date.isoformat,
    PeriodKind.WEEK: _week_label,
    PeriodKind.MONTH: lambda first: f"{first:%Y-%m}",
}
