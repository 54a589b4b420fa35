"""One watched board: reads it when a hint says that it changed, and each second anyway, and offers it to its watchers.

Holds always: a board is read at most once in READ_INTERVAL_S (from Postgres: in REREAD_S), whatever the number of its
watchers and of hints, and more seldom while telling its watchers takes long; a lost hint costs at most REREAD_S; a
failed read leaves the last snapshot in place.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg

from board.catalogue import Board
from board.entry import BoardKey
from board.periods import Period
from board.read import Row
from board.reading import BoardReading
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.tasks import end
from stream_svc import figures
from stream_svc.push_trace import PushTrace
from stream_svc.snapshot import Me, Snapshot
from stream_svc.watcher import Watcher
from stream_svc.wish import LIMIT_MAX

log = logging.getLogger(__name__)

READ_INTERVAL_S = 0.05  # half of the 100 ms within which a change is shown
READ_INTERVAL_MAX_S = 0.1  # on a busy machine, where more frames would only wait in more queues
PUSH_SHARE = 1 / 3  # of the time at most, up to READ_INTERVAL_MAX_S
REREAD_S = 1.0
STALE_S = 5.0  # a snapshot older than this is not shown to newcomers
PLACES_AT_ONCE = 8  # of the 64 connections to Redis and the 8 to Postgres
PLACES_SHARE = 0.1  # of the time at most: own places are one read each, boards one for all


class Topic:
    """A board by name, at its current period."""

    def __init__(
        self,
        name: str,
        board: Callable[[], Board | None],
        reading: BoardReading,
        clock: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.watchers: set[Watcher] = set()
        self.snapshot: Snapshot | None = None  # written by the read task only
        self.key: BoardKey | None = None  # the same
        self.traces = PushTrace(name)
        self._board = board
        self._reading = reading
        self._clock = clock
        self._period: Period | None = None
        self._is_away = False
        self._read_at = float("-inf")  # loop time of the last good read
        self._push_s = 0.0  # what telling all watchers took last
        self._newest_us = 0  # of what was shown: when its newest update was accepted
        self._tried = asyncio.Event()
        self._dirty = asyncio.Event()
        self._moved = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._keep_read(), name=f"board {name}"),
            asyncio.create_task(self._keep_places(), name=f"places on {name}"),
        )

    async def close(self) -> None:
        """Stops reading."""
        await end(*self._tasks)

    def touch(self) -> None:
        """Says that the board may have changed."""
        self._dirty.set()

    async def current(self) -> Snapshot:
        """Returns a snapshot that is fresh enough to begin with. Raises Refused(LEADERBOARD_UNAVAILABLE)."""
        await self._tried.wait()
        if self.snapshot is None or asyncio.get_running_loop().time() - self._read_at > STALE_S:
            raise Refused(
                Reason.LEADERBOARD_UNAVAILABLE, "The board cannot be read right now; try again.", retry_after_s=1
            )
        return self.snapshot

    async def place(self, user_id: str) -> Me | None:
        """Returns a player's own place; None while it cannot be read."""
        if self.key is None:
            return None
        try:
            place, _ = await self._reading.place(self.key, user_id)
        except (*AWAY, asyncpg.PostgresError):
            return None
        return Me(0, 0) if place is None else Me(place.row.rank, place.row.score)

    def want_places(self) -> None:
        """Asks for the own places of those who want them."""
        self._moved.set()

    async def _keep_read(self) -> None:
        while True:
            self._dirty.clear()  # before the read: a hint that comes during it may speak of a later change
            shown = self.traces.take()
            is_stale = await self._try_to_read()
            for span in shown:
                span.end()
            self._tried.set()
            if is_stale:
                await asyncio.sleep(self._pause_s(REREAD_S))
                continue
            interval_s = self._interval_s()
            await asyncio.sleep(interval_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s(REREAD_S - interval_s)):
                    await self._dirty.wait()

    async def _try_to_read(self) -> bool:
        try:
            is_stale = await self._read()
            self._is_away = False
            return is_stale
        except (*AWAY, asyncpg.PostgresError) as e:
            figures.READ_FAILURES.inc()
            if not self._is_away:  # once an outage, not once a second
                log.warning(
                    "A board could not be read",
                    extra={"event": "board_unreadable", "board": self.name, "error": type(e).__name__},
                )
            self._is_away = True
        except Exception:  # the task must live on: it serves everyone on this board
            log.exception("Reading a board failed unexpectedly", extra={"event": "board_read_failed"})
        return True

    def _interval_s(self) -> float:
        """Until the next read. A push that took long says that this machine has more to do than it can."""
        return min(_rest_s(self._push_s, PUSH_SHARE), READ_INTERVAL_MAX_S)

    def _pause_s(self, at_most_s: float) -> float:
        """Until the period's end, where the next board has to be shown at once, or shorter."""
        if self._period is None or self._period.end.tzinfo is None:
            return at_most_s
        return min(at_most_s, max(READ_INTERVAL_S, (self._period.end - self._clock()).total_seconds()))

    async def _read(self) -> bool:
        board = self._board()
        if board is None:  # dropped from the catalogue: what was read last stays
            return True
        period = board.period_at(self._clock())
        if self._period is not None and period != self._period:
            await self._read_period(board, self._period)  # the last words of the period that ends
        self._period = period
        return await self._read_period(board, period)

    async def _read_period(self, board: Board, period: Period) -> bool:
        key = BoardKey(board.board_id, period.start)
        page, is_stale = await self._reading.top(key, 0, LIMIT_MAX)
        self.key = key
        loop = asyncio.get_running_loop()
        self._read_at = loop.time()
        read = Snapshot(self.name, period.label, page.version, page.rows, is_exact=not is_stale)
        newest, is_first = read.after(self.snapshot), self.snapshot is None
        if newest is not self.snapshot:
            self.snapshot = newest
            for watcher in tuple(self.watchers):
                watcher.offer(newest)
            self._push_s = loop.time() - self._read_at
            self._count_delay(page.rows, is_first=is_first)  # their frames are with the sockets by now
            self.want_places()
        return is_stale

    def _count_delay(self, rows: Sequence[Row], *, is_first: bool) -> None:
        """Counts how long the oldest of the new changes was on its way; the newest of many is always young."""
        new = [row.reached_at_us for row in rows if row.reached_at_us > self._newest_us]
        if new and not is_first:
            figures.PUSH_DELAY.observe(max(0.0, self._clock().timestamp() - min(new) / 1_000_000))
        self._newest_us = max(new, default=self._newest_us)

    async def _keep_places(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._moved.wait()
            self._moved.clear()
            began = loop.time()
            pause_s = REREAD_S
            if await self._try_to_tell_places():
                pause_s = _rest_s(loop.time() - began, PLACES_SHARE)
            else:  # some are owed theirs; and the time that a server let us wait was no work to rest from
                self._moved.set()
            await asyncio.sleep(pause_s)

    async def _try_to_tell_places(self) -> bool:
        waiting = [watcher for watcher in self.watchers if watcher.wants_place(self.snapshot)]
        if not waiting:
            return True
        lanes = (self._tell_places(waiting[i::PLACES_AT_ONCE]) for i in range(PLACES_AT_ONCE))
        try:
            return all(await asyncio.gather(*lanes))
        except Exception:  # the task must live on: it serves everyone on this board
            log.exception("Telling own places failed unexpectedly", extra={"event": "places_failed"})
            return False

    async def _tell_places(self, watchers: list[Watcher]) -> bool:
        """Returns whether all could be read; ends at the first that could not, since the others would wait as long."""
        for watcher in watchers:
            if (identity := watcher.identity) is None:
                continue
            me = await self.place(identity.subject)
            if me is None:
                return False
            if watcher.identity is identity:
                watcher.offer_me(me)
        return True


def _rest_s(took_s: float, share: float) -> float:
    """How long to rest after work that took so long and may take this share of the time; READ_INTERVAL_S at least."""
    return max(READ_INTERVAL_S, took_s * (1 / share - 1))
