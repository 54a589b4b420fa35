"""The boards of all regions as one: the merged top, and a player's place as the sum of the regions' counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from board.catalogue import Board
from board.periods import Period
from leaderboard_svc.region import (
    Ahead,
    Entry,
    Region,
    RegionAway,
    Standing,
    Top,
    count_ahead,
    merge,
    reached_before,
)


@dataclass(frozen=True, slots=True)
class GlobalPlace:
    """One player's place over all regions; is_exact: False when it is at least that."""

    rank: int
    entry: Entry
    region: str
    is_exact: bool


class GlobalBoards:
    """Reads the regions, this one (`home`) first."""

    def __init__(self, home: Region, peers: Sequence[Region] = ()) -> None:
        self._regions = (home, *peers)

    async def tops(self, board: Board, period: Period) -> list[tuple[str, Top]]:
        """Returns each region's name and top. Raises as the home region does."""
        found = await asyncio.gather(*(region.top(board, period) for region in self._regions))
        return [(region.name, top) for region, top in zip(self._regions, found, strict=True)]

    async def top(
        self, board: Board, period: Period, limit: int
    ) -> tuple[list[tuple[str, Entry]], list[tuple[str, Top]]]:
        """Returns the best entries of all regions and what each gave; raises as `tops`."""
        tops = await self.tops(board, period)
        return merge(tops, limit), tops

    async def place(self, board: Board, period: Period, user_id: str) -> GlobalPlace | None:
        """Returns a player's place; None for one whom no region has.

        Raises RegionAway when none that answers has him and another does not answer, and as the home region does.
        """
        found = await self._find(board, period, user_id)
        if found is None:
            return None
        own, standing = found
        others = [region for region in self._regions if region is not own]
        counts = await asyncio.gather(*(self._ahead(own, region, board, period, standing.entry) for region in others))
        return GlobalPlace(
            rank=1 + standing.ahead + sum(ahead.count for ahead in counts),
            entry=standing.entry,
            region=own.name,
            is_exact=standing.is_exact and all(ahead.is_exact for ahead in counts),
        )

    async def _find(self, board: Board, period: Period, user_id: str) -> tuple[Region, Standing] | None:
        home, *peers = self._regions
        standing = await home.standing(board, period, user_id)
        if standing is not None:
            return home, standing
        asked = await asyncio.gather(*(peer.standing(board, period, user_id) for peer in peers), return_exceptions=True)
        for peer, answer in zip(peers, asked, strict=True):
            if isinstance(answer, Standing):
                return peer, answer
        for answer in asked:
            if isinstance(answer, BaseException):
                raise answer
        return None

    async def _ahead(self, own: Region, other: Region, board: Board, period: Period, entry: Entry) -> Ahead:
        instant_us = reached_before(own.name, other.name, entry.reached_at_us)
        try:
            return await other.ahead(board, period, entry.score, instant_us)
        except RegionAway:
            return count_ahead(await other.top(board, period), entry.score, instant_us)
