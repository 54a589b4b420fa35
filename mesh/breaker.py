"""Spares callers the wait for a server that has just failed."""

import time
from collections.abc import Callable


class Breaker:
    """Remembers that a server failed and says so for a while, so that only one call a pause pays for finding out.

    on_failure: called at each failure.
    """

    def __init__(
        self,
        on_failure: Callable[[], None] = lambda: None,
        *,
        pause_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_failure = on_failure
        self._pause_s = pause_s
        self._clock = clock
        self._closed_again_at = float("-inf")

    @property
    def is_open(self) -> bool:
        """True while calls should be skipped."""
        return self._clock() < self._closed_again_at

    def failed(self) -> None:
        """Opens it for a pause."""
        self._on_failure()
        self._closed_again_at = self._clock() + self._pause_s

    def worked(self) -> None:
        """Closes it."""
        self._closed_again_at = float("-inf")
