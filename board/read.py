"""What reading a board gives, whoever is asked: Redis (board/read_redis.py) or Postgres (board/read_postgres.py).

Both pass one conformance suite. Holds always: a page is one state of the board, never a mixture of two.
"""

from dataclasses import dataclass, field
from typing import Protocol

from board.entry import BoardKey

RANK_EXACT_MAX = 10_000  # Postgres counts no further: 2 ms there, 60 ms for the median of a million


class NotReady(Exception):  # noqa: N818 -- a state of the view, which the other reader answers for
    """The view of this board is away, being built, or not to be trusted: the truth has to answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One place on a board. rank counts from 1; score is a whole number within ±2^53.

    reached_at_us: when the score was reached, Unix microseconds: of equal scores the earlier one stands before.
    """

    rank: int
    user_id: str
    username: str
    score: int
    reached_at_us: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Page:
    """Neighbouring rows, best first. version: as shown to readers, 0 from Postgres, which has none."""

    rows: tuple[Row, ...]
    players: int
    version: int


@dataclass(frozen=True, slots=True)
class Place:
    """One player's row. approximate: the rank is at least this one."""

    row: Row
    players: int
    approximate: bool
    version: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """How many players stand before a score. approximate: at least so many."""

    count: int
    approximate: bool
    version: int


class BoardReader(Protocol):
    """Reads boards; what it raises beside NotReady are the errors of its driver."""

    async def top(self, board: BoardKey, offset: int, limit: int) -> Page:
        """Returns the rows after the first `offset`, at most `limit` of them."""

    async def place(self, board: BoardKey, user_id: str) -> Place | None:
        """Returns a player's place; None for one who is not on the board."""

    async def around(self, board: BoardKey, user_id: str, each_side: int) -> Page | None:
        """Returns a player's row with `each_side` rows before and after; None for one who is not on the board."""

    async def ahead(self, board: BoardKey, score: int, reached_before_us: int) -> Ahead:
        """Returns how many have more points, or as many since before that instant (Unix microseconds)."""
