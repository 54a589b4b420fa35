"""What a board shows at one moment, and what changed between two such moments.

Pure. Holds always: two snapshots of one board and period that show the same first rows share one tuple of them, so
that "did these rows change?" is a comparison of identities, whatever the number of watchers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from board.read import Row

Rows = tuple[Row, ...]


class Me(NamedTuple):
    """A watcher's own place; rank 0: no entry."""

    rank: int
    score: int


class Change(NamedTuple):
    """What turns older rows into newer ones: rows that are new or differ, and ids of players that left."""

    rows: Rows
    left: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Snapshot:
    """The top of a board. Immutable but for its caches, which only this module and `frames` fill."""

    board: str
    #: Label of the period.
    period: str
    version: int
    rows: Rows
    #: Whether `version` names exactly these rows. What was read from Postgres only repeats the last version.
    is_exact: bool
    #: The last snapshot of the period before, when that one ended while the board was watched.
    closed: Snapshot | None = None
    #: First rows by limit, shared with the snapshot before where they are equal.
    _tops: dict[int, Rows] = field(default_factory=dict, repr=False)
    _places: dict[str, Me] | None = field(default=None, repr=False)
    #: Serialised frames; `frames` decides the keys.
    frames: dict[tuple[object, ...], bytes] = field(default_factory=dict, repr=False)

    def top(self, limit: int) -> Rows:
        """Returns the first `limit` rows: the same object each time."""
        rows = self._tops.get(limit)
        if rows is None:
            rows = self._tops[limit] = self.rows[:limit]
        return rows

    def place(self, user_id: str) -> Me | None:
        """Returns a player's place among the rows; None: not among them."""
        if self._places is None:
            self._places = {row.user_id: Me(row.rank, row.score) for row in self.rows}
        return self._places.get(user_id)

    def after(self, older: Snapshot | None) -> Snapshot:
        """Returns this snapshot with the rows that `older` has too shared; `older` itself when nothing differs."""
        if older is None or older.board != self.board:
            return self
        if older.period != self.period:
            older.closed = None  # one step back is all that a watcher is told of
            self.closed = older
            return self
        self.closed = older.closed
        if (older.version, older.is_exact) == (self.version, self.is_exact) and older.rows == self.rows:
            return older
        for limit, rows in older._tops.items():
            if self.rows[:limit] == rows:
                self._tops[limit] = rows
        return self


def change(older: Rows, newer: Rows) -> Change:
    """Returns what `apply` needs to turn `older` into `newer`."""
    before = {row.user_id: row for row in older}
    changed = tuple(row for row in newer if before.get(row.user_id) != row)
    now = {row.user_id for row in newer}
    return Change(changed, tuple(user_id for user_id in before if user_id not in now))


def apply(older: Rows, rows: Iterable[Row], left: Iterable[str]) -> Rows:
    """Returns the rows that a client shows after a delta: what left is gone, what changed is replaced, by rank."""
    shown = {row.user_id: row for row in older}
    for user_id in left:
        shown.pop(user_id, None)
    shown.update((row.user_id, row) for row in rows)
    return tuple(sorted(shown.values(), key=lambda row: row.rank))
