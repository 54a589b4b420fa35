"""Decides what the client tries again, and how long it waits before: the rule for every call and every watch.

Pure: chance is an argument. What is safe to repeat is the caller's to know; here is what a repeat may help.
"""

from __future__ import annotations

import grpc

from scoreboard.client.errors import ScoreboardError

WAIT_FIRST_S = 0.2
WAIT_MAX_S = 2.0
POLL_FIRST_S = 0.1  # most updates that were PENDING are applied a moment later
POLL_MAX_S = 1.0

_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
#: Without a reason the way broke, not the call: the gateway resets a stream whose service died.
_BROKEN = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})


def is_passing(error: ScoreboardError) -> bool:
    """Tells whether the same call may fare better a little later, by no doing of the player's."""
    if error.code in _PASSING or error.reason == "QUEUE_FULL":
        return True
    return not error.reason and error.code in _BROKEN


def again_after_s(error: ScoreboardError, tries: int, chance: float) -> float | None:
    """Returns the wait before the next try after `tries` + 1 failed ones; None: it would not help.

    At random up to a bound that doubles, after what the server asked for: clients do not come all at once.
    """
    if not is_passing(error):
        return None
    return (error.retry_after_s or 0.0) + chance * doubling_s(tries, WAIT_FIRST_S, WAIT_MAX_S)


def poll_after_s(asked: int) -> float:
    """Returns the wait before an outcome is asked for once more, after `asked` times."""
    return doubling_s(asked, POLL_FIRST_S, POLL_MAX_S)


def doubling_s(times: int, first_s: float, max_s: float) -> float:
    """Returns a bound that doubles with each time, up to a greatest."""
    return min(max_s, first_s * 2.0 ** min(times, 30))
