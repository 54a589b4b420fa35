"""Decides what a watch shows, and when it connects again: snapshot first, never an older board, jittered backoff.

Pure: chance is given. docs/streams.md says what a watcher meets; scoreboard/client/aio.py and blocking.py do the I/O.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from scoreboard.client.answers import Snapshot, frame_to_snapshot
from scoreboard.client.errors import ScoreboardError, by_reason
from scoreboard.client.waits import doubling_s, is_passing
from scoreboard.v1 import stream_pb2

SILENCE_S = 30.0  # three heartbeats: nobody is there
RECONNECT_WITHIN_S = 1.0  # at random, so that the watchers of a service that restarts do not come all at once
RECONNECT_MAX_S = 5.0

OnState = Callable[[ScoreboardError | None], None]


class Watching:
    """One watch through all its streams. `request` is what the next stream asks for."""

    def __init__(
        self,
        limit: int = 10,
        board: str = "all",
        me: bool = False,
        on_state: OnState | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.request = stream_pb2.WatchLeaderboardRequest(board=board, limit=limit, me=me)
        self.refused = ""  # an access token that a stream ended for
        self._on_state = on_state
        self._chance = chance
        self._broken = 0  # streams in a row that brought nothing
        self._is_live = True
        self._period = ""
        self._over: set[str] = set()  # periods before it

    def take(self, frame: stream_pb2.LeaderboardUpdate) -> Snapshot | None:
        """Returns the board to show; None for a heartbeat, and for a board that is older than the one shown.

        Raises ScoreboardError, which is for `broke`, when the server's boards began anew: it has none that is shown.
        """
        self._broken = 0
        if not self._is_live:
            self._is_live = True
            self._tell(None)
        if frame.period in self._over:
            return None
        if frame.heartbeat:
            self._check_that_shown_is_newest(frame)
            return None
        if frame.period != self._period:
            self._over |= {self._period} - {""}
            self._period, self.request.version = frame.period, 0
        # Version 0: from Postgres, by a service that has seen none yet.
        if 0 < frame.version < self.request.version:
            return None
        self.request.version = max(self.request.version, frame.version)  # a reconnect brings nothing shown already
        return frame_to_snapshot(frame)

    def broke(self, error: ScoreboardError | None, token: str = "") -> float:
        """Returns the seconds to wait before the next stream. None: this one ended in order.

        `token`: the access token that it was asked for with. Raises the error when a reconnect cannot mend it.
        """
        error = error or by_reason("SERVICE_AWAY", "The stream ended.")
        if not self._is_mended(error, token):
            raise error
        if self._is_live:
            self._is_live = False
            self._tell(error)
        within_s = doubling_s(self._broken, RECONNECT_WITHIN_S, RECONNECT_MAX_S)
        self._broken += 1
        return min(error.retry_after_s or 0.0, RECONNECT_MAX_S) + self._chance() * within_s

    def _check_that_shown_is_newest(self, heartbeat: stream_pb2.LeaderboardUpdate) -> None:
        # After a restore the versions start lower, and two periods may have come to the same version.
        is_older = 0 < heartbeat.version < self.request.version
        if self._period and (is_older or heartbeat.period != self._period):
            self.request.version = 0
            raise by_reason("SERVICE_AWAY", "The server's boards began anew.")

    def _is_mended(self, error: ScoreboardError, token: str) -> bool:
        if error.reason == "TOKEN_EXPIRED" and token and self.refused != token:
            self.refused = token  # another is got before the next stream
            return True
        return is_passing(error) or error.reason == "SLOW_CONSUMER"

    def _tell(self, error: ScoreboardError | None) -> None:
        if self._on_state is not None:
            self._on_state(error)
