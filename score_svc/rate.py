"""Decides who may update while Redis, which decides it for all, is away: the same window, for this process alone.

Pure: time is an argument. Holds always: at most `limit` different updates a key in any window, a repeat of one costs
nothing, and memory stays bounded.
"""

from collections import OrderedDict
from uuid import UUID

KEYS_MAX = 20_000


class LocalWindow:
    """A sliding window a key."""

    def __init__(self) -> None:
        self._taken: OrderedDict[str, OrderedDict[UUID, float]] = OrderedDict()

    def take(self, key: str, update_id: UUID, limit: int, window_s: float, now_s: float) -> float:
        """Takes room for an update (limit 0: there always is); returns 0.0, or the seconds until there is room."""
        if limit <= 0:
            return 0.0
        taken = self._taken.setdefault(key, OrderedDict())
        self._taken.move_to_end(key)
        if len(self._taken) > KEYS_MAX:
            self._taken.popitem(last=False)
        while taken and next(iter(taken.values())) <= now_s - window_s:
            taken.popitem(last=False)
        if update_id in taken:
            return 0.0
        if len(taken) >= limit:
            return next(iter(taken.values())) + window_s - now_s
        taken[update_id] = now_s
        return 0.0
