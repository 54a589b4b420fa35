"""Reads the ledger backwards, the rows that were applied last first, in pages.

Rows lie by their ids, which carry the nonces' time; when they were applied, a BRIN index alone knows. So the whole
ledger is read through windows of that time, each as wide as goes quickly. Holds always: a page is all that is in
memory, no transaction stays open between two pages, and a row that was there at the beginning comes exactly once.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from admin_svc.fields import REQUEST_AGE_MAX
from board.instant import from_us
from board.ledger import RecordedUpdate, recorded_of
from board.update_id import time_ms
from mesh.sql import load

_SQL = load(__package__, "ledger_query.sql")

PAGE_ROWS = 1_000
WIDTH_FIRST, WIDTH_MIN, WIDTH_MAX = timedelta(minutes=1), timedelta(seconds=1), timedelta(days=7)
QUICK_S, SLOW_S = 0.05, 0.5  # a window that took less is doubled, one that took more halved
_BEFORE_ALL_IDS = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: of a player, of an action, applied within [since, until); None: of all, ever."""

    user_ref: int | None
    action_id: str | None
    since: datetime | None
    until: datetime | None
    limit: int


def next_width(width: timedelta, took_s: float) -> timedelta:
    """Returns the width of the window after one that was so wide and took so long."""
    if took_s > SLOW_S:
        return max(width / 2, WIDTH_MIN)
    return min(width * 2, WIDTH_MAX) if took_s < QUICK_S else width


async def read(pool: asyncpg.Pool, wanted: Wanted) -> AsyncIterator[RecordedUpdate]:
    """Yields the rows, the latest applied first. Raises the errors of mesh.postgres.AWAY."""
    bounds = await pool.fetchrow(_SQL["bounds"])
    if bounds is None:  # an empty ledger
        return
    # An id's time lies at most a day after the row was applied, so nothing was applied before this:
    floor = from_us(time_ms(bounds["lowest"]) * 1000) - REQUEST_AGE_MAX
    floor = max(floor, wanted.since or floor)
    before = (min(bounds["now"], wanted.until or bounds["now"]), _BEFORE_ALL_IDS)
    left, width = wanted.limit, WIDTH_FIRST
    while left > 0 and before > (floor, _BEFORE_ALL_IDS):
        # One player's rows have an index of their own, and need no windows.
        start = floor if wanted.user_ref is not None else max(floor, before[0] - width)
        size = min(left, PAGE_ROWS)
        began = time.monotonic()
        rows = await _page(pool, wanted, start, before, size)
        width = next_width(width, time.monotonic() - began)
        for row in rows:
            yield row
        left -= len(rows)
        before = (rows[-1].applied_at, rows[-1].update_id) if len(rows) == size else (start, _BEFORE_ALL_IDS)


async def last_rows(pool: asyncpg.Pool, user_ref: int, count: int) -> list[RecordedUpdate]:
    """Returns the rows of a player that were applied last, the latest first; raises as `read`."""
    return [row async for row in read(pool, Wanted(user_ref, None, None, None, count))]


async def _page(
    pool: asyncpg.Pool, wanted: Wanted, start: datetime, before: tuple[datetime, UUID], size: int
) -> list[RecordedUpdate]:
    arguments = (start, *before, wanted.action_id, size)
    if wanted.user_ref is None:
        found = await pool.fetch(_SQL["page"], *arguments)
    else:
        found = await pool.fetch(_SQL["page_of_player"], *arguments, wanted.user_ref)
    return [recorded_of(row) for row in found]
