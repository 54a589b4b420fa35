"""Decides whether an action's cooldown and cap let one more job of a player count.

Pure. Holds always: no two counted jobs of a player's action lie closer than its cooldown, and no cap window holds more
than its cap, in whatever order their batches came.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from datetime import datetime, timedelta

from board.catalogue import Action
from board.ledger import ActionUsage
from mesh.reasons import Reason

_NONE = timedelta()


def is_limited(action: Action) -> bool:
    """True for an action with a cooldown or a cap: its usage is kept."""
    return action.cooldown is not None or action.cap_count is not None


def span_needed(at: datetime, usage: ActionUsage, action: Action) -> tuple[datetime, datetime] | None:
    """Returns the span [from, until) whose counted jobs must be known to decide a job; None: the usage row is enough.

    It is not for a job accepted before the last counted one, nor where the catalogue changed the window since.
    """
    times = [at] if at < usage.last_at else []
    if not _is_current(usage, action):
        times.append(usage.last_at)
    if not times:
        return None
    window, cooldown = action.cap_window or _NONE, action.cooldown or _NONE
    starts = [action.cap_window_start(time) for time in times]
    return (
        min(*starts, *(time - cooldown for time in times)),
        max(*(start + window for start in starts), *(time + cooldown for time in times)),
    )


class Limit:
    """The usage of one player's action while a batch goes on, in the order of acceptance.

    past: the times of the counted jobs in the spans that `span_needed` named for the batch.
    """

    def __init__(self, user_ref: int, action: Action, usage: ActionUsage | None, past: Sequence[datetime]) -> None:
        self._user_ref = user_ref
        self._action = action
        self._past = sorted(past)
        self._usage = usage
        if usage is not None and not _is_current(usage, action):
            start = action.cap_window_start(usage.last_at)
            self._usage = self._row(usage.last_at, start, self._count_past(start))

    def refusal(self, at: datetime) -> Reason | None:
        """Returns why a job of that time does not count, or None."""
        if self._is_near(at):
            return Reason.COOLDOWN
        if self._action.cap_count is not None and self._used(at) >= self._action.cap_count:
            return Reason.CAP_REACHED
        return None

    def count(self, at: datetime) -> ActionUsage:
        """Counts a job and returns the row to keep."""
        last, start, used = at, self._action.cap_window_start(at), self._used(at) + 1
        if self._usage is not None and at < self._usage.last_at:
            last = self._usage.last_at
            if start < self._usage.window_start:  # into an earlier window: the row keeps the latest
                start, used = self._usage.window_start, self._usage.used
        insort(self._past, at)
        self._usage = self._row(last, start, used)
        return self._usage

    def _row(self, last: datetime, start: datetime, used: int) -> ActionUsage:
        return ActionUsage(self._user_ref, self._action.action_id, last, start, used)

    def _is_near(self, at: datetime) -> bool:
        cooldown = self._action.cooldown
        if cooldown is None or self._usage is None:
            return False
        if at >= self._usage.last_at:
            return at - self._usage.last_at < cooldown
        # Late: near in either direction, or a job that waited in a queue would slip in between.
        after = bisect_right(self._past, at - cooldown)
        return after < len(self._past) and self._past[after] < at + cooldown

    def _used(self, at: datetime) -> int:
        start = self._action.cap_window_start(at)
        if self._usage is None or start > self._usage.window_start:
            return 0
        return self._usage.used if start == self._usage.window_start else self._count_past(start)

    def _count_past(self, start: datetime) -> int:
        end = start + (self._action.cap_window or _NONE)
        return bisect_left(self._past, end) - bisect_left(self._past, start)


def _is_current(usage: ActionUsage, action: Action) -> bool:
    return usage.window_start == action.cap_window_start(usage.last_at)
