"""Waits for conditions. A deadline is a bound on patience, scaled by one variable for slow machines."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

# Read at import: conftest.py takes SCOREBOARD_* out of the environment before any test runs.
SCALE = float(os.environ.get("SCOREBOARD_TEST_TIMEOUT_SCALE", "1"))
POLL_S = 0.02  # short beside what it waits for, long beside the cost of asking


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ..., what: str = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ..., what: str = ...) -> T: ...
async def eventually(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = 20.0, what: str = "the condition"
) -> T:
    """Return the condition's first true value; fail when there is none before the (scaled) deadline.

    An AssertionError of the condition counts as "not yet"; the last one is shown. A value that comes late, from a
    condition that waits itself, is none.
    """
    deadline = time.monotonic() + timeout_s * SCALE
    last: AssertionError | None = None
    while True:
        try:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value and time.monotonic() <= deadline:
                return value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s * SCALE:.0f} s") from last
        await asyncio.sleep(POLL_S)


def clear_of_midnight(left_s: float = 60.0) -> None:
    """Wait for the next UTC day if this one ends within so many (scaled) seconds."""
    ends_s = 86_400 - time.time() % 86_400
    if ends_s < left_s * SCALE:
        time.sleep(ends_s)
