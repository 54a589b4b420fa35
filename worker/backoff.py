"""Decides how long a job that failed waits before it is tried again, and when it is given up.

Pure. Holds always: each further failure waits at least as long as the one before, until there are no more delays.
"""

from collections.abc import Sequence


def delay_s(attempt: int, delays_s: Sequence[float]) -> float | None:
    """Returns the wait after the `attempt`-th failure (1 at first); None: give up, to the dead letters.

    Without jitter by intent: a delay is a queue, and a queue has one time to live.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt}: failures are counted from 1")
    return delays_s[attempt - 1] if attempt <= len(delays_s) else None
