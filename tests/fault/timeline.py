"""What a test did to the world and what it saw, with the seconds at which it happened.

It goes to the log: pytest shows it when the test fails, and `pytest -o log_cli=true` while it runs.
"""

from __future__ import annotations

import logging
import time

log = logging.getLogger("timeline")
log.setLevel(logging.INFO)


class Timeline:
    """Notes of one test; `begin` starts the next one's."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.faults = 0  # that the test injected

    def begin(self, seed: object) -> None:
        """Start from zero. seed: of the run, which makes the same random choices again."""
        self._started = time.monotonic()
        self.faults = 0
        self.note(f"begins; the same again: --randomly-seed={seed}")

    def fault(self, what: str) -> None:
        """Note a fault that the test injects, and count it."""
        self.faults += 1
        self.note(f"FAULT {what}")

    def note(self, what: str) -> None:
        """Note an event."""
        log.info("%9.3f s  %s", time.monotonic() - self._started, what)
