"""This region's boards, as another region's are read (leaderboard_svc/region.py), and for other regions to ask."""

from __future__ import annotations

from board import read
from board.catalogue import Board
from board.entry import BoardKey
from board.periods import Period
from board.reading import BoardReading
from leaderboard_svc.region import TOP_MAX, Ahead, Entry, Standing, Top
from leaderboard_svc.snapshots import Snapshots


class Home:
    """The region that this process belongs to. Its calls raise the errors of mesh.postgres.AWAY."""

    def __init__(self, name: str, reading: BoardReading) -> None:
        self.name = name
        self._reading = reading
        self._tops: Snapshots[Top] = Snapshots()  # anyone may ask, and a hundred rows are a large answer

    async def top(self, board: Board, period: Period) -> Top:
        """As Region."""
        key = BoardKey(board.board_id, period.start)
        return await self._tops.get(key, lambda: self._read_top(key))

    async def _read_top(self, key: BoardKey) -> Top:
        page, is_stale = await self._reading.top(key, 0, TOP_MAX)
        return Top(tuple(map(_entry, page.rows)), page.players, is_stale, 0.0)

    async def standing(self, board: Board, period: Period, user_id: str) -> Standing | None:
        """As Region."""
        place, _ = await self._reading.place(BoardKey(board.board_id, period.start), user_id)
        if place is None:
            return None
        return Standing(_entry(place.row), place.row.rank - 1, not place.approximate)

    async def ahead(self, board: Board, period: Period, score: int, reached_before_us: int) -> Ahead:
        """As Region."""
        key = BoardKey(board.board_id, period.start)
        found, _ = await self._reading.ahead(key, score, reached_before_us)
        return Ahead(found.count, not found.approximate)


def _entry(row: read.Row) -> Entry:
    return Entry(row.user_id, row.username, row.score, row.reached_at_us)
