"""What a board is made of, as its modules hand it to one another.

Pure. Holds always: an entry's version grows with each of its changes, so of two entries of one key the higher version
is the newer one.
"""

from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from board.instant import from_us, to_us
from board.periods import BEGINNING


class Operator(IntEnum):
    """How changes fold into an entry, as the table `boards` stores it."""

    SUM = 0  # points add up
    BEST = 1  # the highest value stays
    LAST = 2  # the newest value stays


class BoardKey(NamedTuple):
    """One period of one board. period_start is periods.BEGINNING where the board has none."""

    board_id: int
    period_start: datetime

    @property
    def tag(self) -> str:
        """How Redis keys and the feed name it: `<board_id>:<period_start as unix seconds, or 0>`."""
        start_s = 0 if self.period_start == BEGINNING else to_us(self.period_start) // 1_000_000
        return f"{self.board_id}:{start_s}"

    @classmethod
    def from_tag(cls, tag: str) -> "BoardKey":
        """Returns the key that has this tag. Raises ValueError for anything else."""
        board_id, start_s = map(int, tag.split(":"))
        return cls(board_id, from_us(start_s * 1_000_000) if start_s else BEGINNING)


class EntryChange(NamedTuple):
    """What a batch adds to one player's entry: points for a sum, the value that stays for best and last."""

    board: BoardKey
    user_ref: int
    score: int
    reached_at: datetime


class Entry(NamedTuple):
    """One player's place on one board, as committed."""

    board: BoardKey
    user_ref: int
    score: int
    reached_at: datetime
    version: int
    hidden: bool


class UserName(NamedTuple):
    """What a board shows of a player. version: of name and state."""

    user_ref: int
    version: int
    user_id: str
    username: str
