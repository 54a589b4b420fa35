"""worker/reconcile.py: which differences are writes on their way, which were missed, and which no write made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from board.entry import BoardKey, Entry, UserName
from board.periods import BEGINNING
from board.shown import Shown, shown_of
from worker.reconcile import Verdict, judge

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(entry_version: int, name_version: int = 1, *, hidden: bool = False) -> Shown:
    """What a view shows that has these versions."""
    entry = Entry(BoardKey(1, BEGINNING), 7, 10 * entry_version, NOW, entry_version, hidden)
    return shown_of(entry, UserName(7, name_version, "p7", f"Name {name_version}"))


NOTHING = Shown("", None, "", "")


@pytest.mark.parametrize(
    ("first", "now", "shown", "verdict"),
    [
        (at(5), at(5), at(5), Verdict.RIGHT),
        (at(5), at(7), at(5), Verdict.RIGHT),  # 6 and 7 are on their way
        (at(5), at(7), at(6), Verdict.RIGHT),
        (at(5, 1), at(5, 2), at(5, 1), Verdict.RIGHT),
        (at(5), at(5), at(4), Verdict.BEHIND),
        (at(5), at(7), at(4), Verdict.BEHIND),
        (at(5, hidden=True), at(5, hidden=True), at(4), Verdict.BEHIND),
        (at(5), at(5), NOTHING, Verdict.BEHIND),
        (at(5, 2), at(5, 2), at(5, 1), Verdict.BEHIND),
        (at(5), at(5), at(6), Verdict.WRONG_ENTRY),
        (at(5), at(5), at(5, hidden=True), Verdict.WRONG_ENTRY),
        (at(5), at(5), replace(at(5), minus=None), Verdict.WRONG_ENTRY),
        (at(5), at(5), replace(at(5), minus=-51.0), Verdict.WRONG_ENTRY),
        (at(5), at(5), replace(at(5), entry="x"), Verdict.WRONG_ENTRY),
        (at(5, 1), at(5, 1), at(5, 2), Verdict.WRONG_NAME),
        (at(5), at(5), replace(at(5), user="000000000008"), Verdict.WRONG_NAME),
        (at(5), at(5), replace(at(6), name="1\x1fp7\x1fAnother"), Verdict.WRONG_NAME),
    ],
)
def test_a_difference_is_judged_by_versions(first: Shown, now: Shown, shown: Shown, verdict: Verdict) -> None:
    assert judge(first, now, shown) is verdict
