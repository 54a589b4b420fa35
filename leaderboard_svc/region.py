"""What a region tells of a board, and how the boards of all regions become one.

Pure. Holds always: a merged top is in the order that one board of all players would have, as far as its parts are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from board.catalogue import Board
from board.periods import Period

TOP_MAX = 100  # rows of each region that are merged, and the most that anyone may ask for


class RegionAway(Exception):  # noqa: N818 -- a state of the region, for which what is known of it answers
    """The region cannot be asked right now."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One player of a region. reached_at_us: when the score was reached, Unix microseconds."""

    user_id: str
    username: str
    score: int
    reached_at_us: int


@dataclass(frozen=True, slots=True)
class Top:
    """The top of a region's board: TOP_MAX entries, or all there are. is_stale: it may be older than it says.

    age_s: seconds since it was read; None: never, and the region's part is missing.
    """

    entries: tuple[Entry, ...] = ()
    players: int = 0
    is_stale: bool = True
    age_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Standing:
    """One player's place in his own region. ahead: players there who stand before him; is_exact: and no more."""

    entry: Entry
    ahead: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Ahead:
    """How many players of a region stand before a score; is_exact: and no more."""

    count: int
    is_exact: bool


class Region(Protocol):
    """One region's boards. What it raises beside RegionAway are refusals of the region that was asked first."""

    @property
    def name(self) -> str:
        """What it is called."""

    async def top(self, board: Board, period: Period) -> Top:
        """Returns the top as it is known by now; a region that is away gives what it gave last."""

    async def standing(self, board: Board, period: Period, user_id: str) -> Standing | None:
        """Returns a player's place; None for one who is not on the board there. Raises RegionAway."""

    async def ahead(self, board: Board, period: Period, score: int, reached_before_us: int) -> Ahead:
        """Returns how many have more points, or as many since before that instant. Raises RegionAway."""


def merge(tops: Sequence[tuple[str, Top]], limit: int) -> list[tuple[str, Entry]]:
    """Returns the best entries of all regions, at most `limit`, each with its region's name. limit: TOP_MAX at most."""
    return list(islice(heapq.merge(*(_placed(name, top) for name, top in tops), key=_place), limit))


def count_ahead(top: Top, score: int, reached_before_us: int) -> Ahead:
    """Returns how many of a top stand before a score: what is known of a region that is away."""
    return Ahead(sum(_stands_before(entry, score, reached_before_us) for entry in top.entries), is_exact=False)


def reached_before(own: str, other: str, reached_at_us: int) -> int:
    """Returns the instant before which an equal score of the region `other` stands before one of the region `own`.

    Of scores that are equal and were reached in the same microsecond, the region's name decides.
    """
    return reached_at_us + (other < own)


def _placed(name: str, top: Top) -> Iterable[tuple[str, Entry]]:
    return ((name, entry) for entry in top.entries)


def _place(placed: tuple[str, Entry]) -> tuple[int, int, str]:
    name, entry = placed
    return (-entry.score, entry.reached_at_us, name)


def _stands_before(entry: Entry, score: int, reached_before_us: int) -> bool:
    return entry.score > score or (entry.score == score and entry.reached_at_us < reached_before_us)
