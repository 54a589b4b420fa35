"""When a limited action may count again, as `scoreboard explain` says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from board.catalogue import Action
from board.player import next_at

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
COOLDOWN = Action("a", 1, cooldown=timedelta(seconds=60))
CAP = Action("a", 1, cap_count=2, cap_window=DAY)
BOTH = Action("a", 1, cooldown=timedelta(hours=13), cap_count=1, cap_window=DAY)


@pytest.mark.parametrize(
    ("action", "ago", "used", "expected"),
    [
        (COOLDOWN, None, 0, None),
        (COOLDOWN, timedelta(seconds=59), 1, NOW + timedelta(seconds=1)),
        (COOLDOWN, timedelta(seconds=60), 1, None),
        (CAP, timedelta(hours=1), 1, None),
        (CAP, timedelta(hours=1), 2, datetime(2026, 11, 28, tzinfo=UTC)),
        (BOTH, timedelta(hours=2), 0, NOW + timedelta(hours=11)),
        (BOTH, timedelta(), 1, NOW + timedelta(hours=13)),
        (BOTH, timedelta(hours=11), 1, datetime(2026, 11, 28, tzinfo=UTC)),
    ],
)
def test_cooldown_and_cap_say_when_the_next_one_counts(
    action: Action, ago: timedelta | None, used: int, expected: datetime | None
) -> None:
    assert next_at(action, None if ago is None else NOW - ago, used, NOW) == expected
