"""Decides whether one more attempt fits into a limit: a leaky bucket kept as one number (GCRA, ITU-T I.371).

Pure; take.lua does the same arithmetic in Redis. The number is the time at which the bucket will be empty.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` attempts at once, then one each `interval_s` seconds."""

    interval_s: float
    burst: int


def take(empty_at: float, now: float, limit: Limit) -> tuple[float, float]:
    """Returns the new number and the seconds to wait; 0 means taken, else the number is unchanged."""
    filled = max(empty_at, now) + limit.interval_s
    wait_s = filled - limit.burst * limit.interval_s - now
    # A nanosecond of rounding must not refuse the last attempt of a burst.
    return (filled, 0.0) if wait_s <= 1e-6 else (empty_at, wait_s)


def give_back(empty_at: float, limit: Limit) -> float:
    """Returns the number after an attempt that turned out not to count."""
    return empty_at - limit.interval_s
