"""A watched board goes on after an error that nobody thought of, and tells how late it is shown."""

from __future__ import annotations

import itertools
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from board.catalogue import Board
from board.entry import BoardKey
from board.instant import to_us
from board.read import Page, Place, Row
from board.reading import BoardReading
from mesh.identity import Identity
from stream_svc import figures
from stream_svc.frames import Format
from stream_svc.snapshot import Me
from stream_svc.topic import Topic
from stream_svc.watcher import Watcher
from tests.waiting import eventually

ADA = Row(1, "ada", "Ada", 50)


class Reading:
    """A board whose rows do not reach to Ada, and whose first own place cannot be told."""

    def __init__(self) -> None:
        self.places = 0

    async def top(self, board: BoardKey, offset: int, limit: int) -> tuple[Page, bool]:
        return Page((), 1, 1), False

    async def place(self, board: BoardKey, user_id: str) -> tuple[Place | None, bool]:
        self.places += 1
        if self.places == 1:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return Place(ADA, 1, approximate=False, version=1), False


class Growing:
    """A board that each read shows as it is next."""

    def __init__(self, *pages: tuple[Row, ...]) -> None:
        self.pages = list(pages)
        self.shown = 0

    async def top(self, board: BoardKey, offset: int, limit: int) -> tuple[Page, bool]:
        self.shown = min(self.shown + 1, len(self.pages))
        return Page(self.pages[self.shown - 1], 2, self.shown), False


async def test_a_push_is_as_late_as_the_oldest_change_that_it_shows() -> None:
    """By the newest one, a board that stood still for seconds under load looked as if it was shown in time."""
    now = datetime.now(UTC)

    def row(rank: int, name: str, age_s: float) -> Row:
        return Row(rank, name, name, 10, to_us(now - timedelta(seconds=age_s)))

    first = (row(1, "ada", 60), row(2, "ben", 60))
    reading = Growing(first, (row(1, "ada", 5), row(2, "ben", 0.01), row(3, "eve", 60)))
    board = Board(name="all", board_id=1, revision=1)
    topic = Topic("all", lambda: board, cast(BoardReading, cast(Any, reading)), lambda: now)
    before = figures.PUSH_DELAY.total
    try:
        await eventually(
            lambda: reading.shown == 2 and figures.PUSH_DELAY.total > before, what="a push that is counted"
        )
        assert figures.PUSH_DELAY.total - before == pytest.approx(5, abs=0.1)
    finally:
        await topic.close()


async def test_own_places_go_on_after_an_unexpected_error() -> None:
    reading = Reading()
    board = Board(name="all", board_id=1, revision=1)
    topic = Topic("all", lambda: board, cast(BoardReading, cast(Any, reading)), lambda: datetime.now(UTC))
    watcher = Watcher("all", 10, Format.JSON, lambda: None)
    watcher.identity = Identity("ada", "s", 1, frozenset(), "player", 2e9)
    try:
        topic.watchers.add(watcher)
        await topic.current()
        await eventually(lambda: reading.places >= 1, what="the place that fails")
        topic.want_places()
        await eventually(lambda: watcher.me == Me(1, 50), what="the own place")
    finally:
        await topic.close()


async def test_a_board_is_shown_more_seldom_while_a_push_takes_long() -> None:
    """On a busy machine more frames would only wait in more queues; and it is never left for longer than 0.1 s."""
    pages = [(Row(1, "ada", "Ada", score),) for score in range(1, 40)]
    reading, shown_at = Growing(*pages), []
    board = Board(name="all", board_id=1, revision=1)
    topic = Topic("all", lambda: board, cast(BoardReading, cast(Any, reading)), lambda: datetime.now(UTC))

    def write_slowly() -> None:
        shown_at.append(time.monotonic())
        time.sleep(0.04)  # of the loop's own time, as thousands of sockets take it
        watcher.take(time.monotonic())
        topic.touch()

    watcher = Watcher("all", 10, Format.JSON, write_slowly)
    try:
        topic.watchers.add(watcher)
        await eventually(lambda: len(shown_at) == 12, what="a dozen pushes")
        pauses_s = [after - before - 0.04 for before, after in itertools.pairwise(shown_at)]
        assert min(pauses_s) >= 0.08
        assert statistics.median(pauses_s) < 0.3
    finally:
        await topic.close()
