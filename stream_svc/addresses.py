"""Decides whether an address may open another stream: one must not take the places of all.

Pure. A WebSocket counts as many as it shows boards. A stream from past the gateway, whose address nobody told, is not
counted.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.address import UNKNOWN
from mesh.reasons import Reason
from mesh.refusal import Refused


class Addresses:
    """The streams that are open, by address; at most `most` each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def check(self, address: str, more: int = 1) -> None:
        """Raises Refused(RATE_LIMITED) when so many more are more than the address may have."""
        if self._open[address] + more > self._most and address != UNKNOWN:
            message = f"Your address has {self._open[address]} of {self._most} streams open: close one."
            raise Refused(Reason.RATE_LIMITED, message, retry_after_s=1)

    def take(self, address: str, count: int = 1) -> None:
        """Counts streams; `give_back` must follow."""
        self._open[address] += count

    def give_back(self, address: str, count: int = 1) -> None:
        """Counts streams no longer."""
        self._open[address] -= count
        if not self._open[address]:
            del self._open[address]  # or an address a visitor stays here for good

    @contextmanager
    def counting(self, address: str) -> Iterator[None]:
        """Counts a stream while the context lasts. Raises as `check`."""
        self.check(address)
        self.take(address)
        try:
            yield
        finally:
            self.give_back(address)
