"""Another region's boards, read through its gateway as any client may, and remembered for when it is away.

Holds always: a region that is known to be away costs one call a pause its time; what it gave last answers the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import grpc

from board.catalogue import Board
from board.periods import Period
from leaderboard_svc.region import TOP_MAX, Ahead, Entry, RegionAway, Standing, Top
from leaderboard_svc.snapshots import SharedReads
from mesh import metrics
from mesh.breaker import Breaker
from scoreboard.v1 import leaderboard_pb2 as pb
from scoreboard.v1.leaderboard_pb2_grpc import LeaderboardServiceStub

log = logging.getLogger(__name__)

_FAILURES = metrics.counter("scoreboard_region_failures_total")

FRESH_S = 0.5  # half of the second that a region's part may be old
ANSWER_S = 0.8  # a rank takes two steps, and the gateway waits for 2 s
PAUSE_S = 2.0  # before a region that did not answer is asked again
ASKING_MAX = 200  # calls on their way; what is more is answered by what is known
TOPS_MAX = 300  # boards and periods that are remembered, some 30 kB each
OPTIONS = (("grpc.max_reconnect_backoff_ms", 2_000), ("grpc.keepalive_time_ms", 20_000))

A = TypeVar("A", pb.GetRegionTopResponse, pb.GetRegionPlaceResponse, pb.CountAheadResponse)
_Asked = tuple[str, str]  # board, label of the period


class Peer:
    """One other region."""

    def __init__(self, name: str, gateway: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._breaker = Breaker(_FAILURES.child(name).inc, pause_s=PAUSE_S, clock=clock)
        self._is_away = False
        self._worked_at = float("-inf")
        self._asking = 0
        self._tops: dict[_Asked, tuple[float, Top]] = {}  # read from (monotonic), what
        self._reads: SharedReads[Top] = SharedReads()
        parts = urlsplit(gateway)
        self._channel = (
            grpc.aio.secure_channel(parts.netloc, grpc.ssl_channel_credentials(), options=OPTIONS)
            if parts.scheme == "https"
            else grpc.aio.insecure_channel(parts.netloc, options=OPTIONS)
        )
        self._boards = LeaderboardServiceStub(self._channel)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def top(self, board: Board, period: Period) -> Top:
        """As Region."""
        asked = (board.name, period.label)
        known = self._known(asked)
        if known.age_s is not None and known.age_s < FRESH_S:
            return known
        return await self._reads.get(asked, lambda: self._read_top(asked))

    async def standing(self, board: Board, period: Period, user_id: str) -> Standing | None:
        """As Region."""
        request = pb.GetRegionPlaceRequest(user_id=user_id, board=board.name, period=period.label)
        found = await self._ask(lambda: self._boards.GetRegionPlace(request, timeout=ANSWER_S))
        return None if found is None else Standing(_entry(found.row), found.ahead, not found.approximate)

    async def ahead(self, board: Board, period: Period, score: int, reached_before_us: int) -> Ahead:
        """As Region."""
        request = pb.CountAheadRequest(
            score=score, reached_before_us=reached_before_us, board=board.name, period=period.label
        )
        found = await self._ask(lambda: self._boards.CountAhead(request, timeout=ANSWER_S))
        return Ahead(0, is_exact=True) if found is None else Ahead(found.ahead, not found.approximate)

    def _known(self, asked: _Asked) -> Top:
        if asked not in self._tops:
            return Top()
        read_at, top = self._tops[asked]
        return Top(top.entries, top.players, top.is_stale, self._clock() - read_at)

    async def _read_top(self, asked: _Asked) -> Top:
        name, label = asked
        request = pb.GetRegionTopRequest(limit=TOP_MAX, board=name, period=label)
        started = self._clock()
        try:
            found = await self._ask(lambda: self._boards.GetRegionTop(request, timeout=ANSWER_S))
        except RegionAway:
            known = self._known(asked)
            return Top(known.entries, known.players, is_stale=True, age_s=known.age_s)
        top = Top(is_stale=False)  # a board that the region does not have, which nobody plays there
        if found is not None:
            top = Top(tuple(map(_entry, found.rows)), found.players, found.stale)
        self._tops.pop(asked, None)  # so that what was asked last is forgotten last
        if len(self._tops) >= TOPS_MAX:
            self._tops.pop(next(iter(self._tops)))
        self._tops[asked] = (started, top)
        return self._known(asked)

    async def _ask(self, call: Callable[[], Awaitable[A]]) -> A | None:
        """Returns the answer; None for what the region does not have. Raises RegionAway."""
        # While it is away one call at a time finds out, and the others do not wait for that.
        if self._breaker.is_open or (self._is_away and self._asking) or self._asking >= ASKING_MAX:
            raise RegionAway
        began, self._asking = self._clock(), self._asking + 1
        try:
            answer = await call()
        except grpc.aio.AioRpcError as e:
            if e.code() is grpc.StatusCode.NOT_FOUND:
                self._worked()
                return None
            self._failed(began, "region_away", e.code().name)
            raise RegionAway from e
        finally:
            self._asking -= 1
        if answer.region != self.name:  # its part, or our own, would be counted twice
            self._failed(began, "region_misnamed", answer.region)
            raise RegionAway
        self._worked()
        return answer

    def _failed(self, began: float, event: str, reason: str) -> None:
        if began < self._worked_at:
            return  # another call, which began later, was answered
        self._breaker.failed()
        if not self._is_away:  # once an outage
            extra = {"event": event, "region": self.name, "reason": reason}
            log.warning("Another region does not answer, or not as itself", extra=extra)
        self._is_away = True

    def _worked(self) -> None:
        self._breaker.worked()
        self._worked_at = self._clock()
        if self._is_away:
            log.info("The other region answers again", extra={"event": "region_back", "region": self.name})
        self._is_away = False


def _entry(row: pb.RegionRow) -> Entry:
    return Entry(row.user_id, row.username, row.score, row.reached_at_us)
