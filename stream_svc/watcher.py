"""One watcher of one board: a slot for the newest news, and the decision which frames say it.

Pure: `offer` puts in, `take` takes out; who writes the frames, and when, is told by `wake`.
Holds always: nothing queues up (newer replaces waiting), and each frame is the newest at the time it is taken.
"""

from collections.abc import Callable

from mesh.identity import Identity
from stream_svc import figures, frames
from stream_svc.endings import Ending
from stream_svc.frames import Format
from stream_svc.snapshot import Me, Rows, Snapshot


class Watcher:
    """The slot, and what its watcher was sent last."""

    def __init__(
        self,
        board: str,
        limit: int,
        format_: Format,
        wake: Callable[[], None],
        *,
        deltas: bool = False,
        known_version: float = 0,
    ) -> None:
        self.board = board
        self.limit = limit
        #: Whose own place rides along; None: nobody's.
        self.identity: Identity | None = None
        self.ending: Ending | None = None
        self._format = format_
        self._wake = wake
        self._deltas = deltas
        self._known_version = known_version  # what the client says it has; only the first frame asks
        self._newest: Snapshot | None = None
        self._me: Me | None = None  # as it was read, past the rows
        self._sent_me: Me | None = None
        self._is_news = False
        self._is_heartbeat_due = False
        self._taken_at: float | None = None
        self._sent: Snapshot | None = None
        self._sent_rows: Rows = ()

    @property
    def has_news(self) -> bool:
        """Whether `take` would return frames."""
        return self._is_news or self._is_heartbeat_due

    @property
    def me(self) -> Me | None:
        """The own place that rides along, as the newest rows have it; None: not known, or not asked for."""
        if self.identity is None or self._newest is None:
            return self._me
        return self._newest.place(self.identity.subject) or self._me

    def wants_place(self, snapshot: Snapshot | None) -> bool:
        """Whether the own place must be read, since it is asked for and these rows do not tell it."""
        return self.identity is not None and (snapshot is None or snapshot.place(self.identity.subject) is None)

    def offer(self, snapshot: Snapshot) -> None:
        """Puts a newer snapshot into the slot; wakes the writer when this watcher's rows or own place changed."""
        if self.identity is not None:
            self._me = self.me  # as the rows had it: who drops out of them keeps it until the place is read
        self._newest = snapshot
        sent = self._sent
        if (
            sent is None
            or snapshot.period != sent.period
            or snapshot.top(self.limit) is not self._sent_rows
            or self.me != self._sent_me
        ):
            self._is_news = True
            self._wake()

    def offer_me(self, me: Me | None) -> None:
        """Puts the own place into the slot; wakes the writer when it changed."""
        self._me = me
        if self._newest is not None and self.me is not None and self.me != self._sent_me:
            self._is_news = True
            self._wake()

    def beat(self, now: float, after_s: float) -> None:
        """Asks for a heartbeat when the last frame was taken `after_s` ago. now: monotonic seconds."""
        if self._newest is not None and self._taken_at is not None and now - self._taken_at >= after_s:
            self._is_heartbeat_due = True
            self._wake()

    def lose_identity(self, ending: Ending) -> None:
        """The token is over or the session was logged out: a stream that was promised its own place ends."""
        self.end(ending)

    def end(self, ending: Ending) -> None:
        """Ends the stream: the writer is woken and finds `ending`."""
        if self.ending is None:
            self.ending = ending
            self._wake()

    def take(self, now: float) -> list[bytes]:
        """Empties the slot; returns the frames to write now (monotonic seconds), in this order; none: nothing new."""
        newest = self._newest
        if newest is None or not self.has_news:
            return []
        written = self._frames(newest) if self._is_news else [frames.heartbeat(newest, self._format)]
        self._is_news = self._is_heartbeat_due = False
        self._taken_at = now
        self._sent = newest
        self._sent_rows = newest.top(self.limit)
        figures.FRAMES.value += len(written)  # thousands a push: even a call would show
        self._sent_me = self.me
        written[-1] = frames.with_me(written[-1], self._sent_me, self._format)
        return written

    def _frames(self, newest: Snapshot) -> list[bytes]:
        sent = self._sent
        if sent is None:
            if newest.is_exact and newest.version and newest.version == self._known_version:
                return [frames.heartbeat(newest, self._format)]
            return [frames.whole(newest, self.limit, self._format)]
        if sent.period != newest.period:
            last = newest.closed if newest.closed and newest.closed.period == sent.period else sent
            closing = frames.whole(last, self.limit, self._format, closed=True)
            return [closing, frames.whole(newest, self.limit, self._format)]
        # Without a version of its own (Postgres), the base that a delta names would be ambiguous.
        if self._deltas and sent.is_exact and newest.is_exact:
            return [frames.delta(newest, self.limit, self._format, self._sent_rows, sent.version)]
        return [frames.whole(newest, self.limit, self._format)]
