"""Decides who may update while Redis, which decides it for all, is away: the same window, for this process alone.

Pure: time is an argument. Holds always: at most `limit` different updates a key in any window, a repeat of one costs
nothing, and memory stays bounded.
"""

from collections import OrderedDict, deque
from uuid import UUID

KEYS_MAX = 20_000


class LocalWindow:
    """A sliding window a key."""

    def __init__(self) -> None:
        self._taken: OrderedDict[str, deque[tuple[float, UUID]]] = OrderedDict()

    def take(self, key: str, update_id: UUID, limit: int, window_s: float, now_s: float) -> float:
        """Takes room for an update (limit 0: there always is); returns 0.0, or the seconds until there is room."""
        if limit <= 0:
            return 0.0
        taken = self._taken.setdefault(key, deque())
        self._taken.move_to_end(key)
        if len(self._taken) > KEYS_MAX:
            self._taken.popitem(last=False)
        while taken and taken[0][0] <= now_s - window_s:
            taken.popleft()
        if any(known == update_id for _, known in taken):
            return 0.0
        if len(taken) >= limit:
            return taken[0][0] + window_s - now_s
        taken.append((now_s, update_id))
        return 0.0
