"""What the client answers with: the contract's messages as plain values, scores as whole numbers, absent as None."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from scoreboard.v1 import auth_pb2, common_pb2, leaderboard_pb2, score_pb2, stream_pb2


class Status(StrEnum):
    """How far an update has come."""

    APPLIED = "APPLIED"
    """Committed; its points count."""
    PENDING = "PENDING"
    """Accepted and durable, not yet committed: `get_update` tells it later."""
    REFUSED = "REFUSED"
    """Decided against; it counts for nothing and never will."""
    PARKED = "PARKED"
    """Failed again and again; an operator decides."""


@dataclass(frozen=True)
class Update:
    """An action and what became of it. `update_id` is its key for `get_update`.

    While PENDING, `username` is empty and both numbers are None. `new_score`: the all-time score after it. `points`:
    what it added. `reason`: why it was REFUSED or PARKED.
    """

    status: Status
    update_id: str
    username: str = ""
    new_score: int | None = None
    points: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One place on a board. `rank` counts from 1."""

    rank: int
    user_id: str
    username: str
    score: int


@dataclass(frozen=True)
class Me:
    """The watcher's own place; rank 0: no entry yet."""

    rank: int
    score: int


@dataclass(frozen=True)
class Snapshot:
    """A part of a board at one version, best first.

    `players`: how many the board has; a watch does not tell. `stale`: read from Postgres while Redis is away, up to 1 s
    old. `closed`: the period has ended, and the next one's snapshot follows. `me`: the own place, where asked for.
    """

    leaderboard: tuple[Row, ...]
    board: str
    period: str
    version: int
    players: int | None = None
    stale: bool = False
    closed: bool = False
    me: Me | None = None


@dataclass(frozen=True)
class Place:
    """One player's place. `approximate`: the rank was only counted to 10,000; it is at least that."""

    rank: int
    user_id: str
    username: str
    score: int
    players: int
    board: str
    period: str
    approximate: bool = False


@dataclass(frozen=True)
class Period:
    """One occurrence of a board's period: [starts_at, ends_at), RFC 3339 in UTC, both empty where there are none."""

    label: str
    starts_at: str
    ends_at: str
    closed: bool


@dataclass(frozen=True)
class Board:
    """A ranking and its rule. `operator`: sum, best or last. `period_kind`: none, day, week, month or custom.

    `periods`: the newest first.
    """

    name: str
    operator: str
    period_kind: str
    periods: tuple[Period, ...]


@dataclass(frozen=True)
class Profile:
    """What an account shows."""

    user_id: str
    username: str


def to_update(message: score_pb2.UpdateScoreResponse) -> Update:
    """Returns a message as a value."""
    return Update(
        Status(score_pb2.UpdateStatus.Name(message.status)),
        message.update_id,
        message.username,
        int(message.new_score) if message.HasField("new_score") else None,
        int(message.points) if message.HasField("points") else None,
        message.reason,
    )


def to_snapshot(message: leaderboard_pb2.GetLeaderboardResponse) -> Snapshot:
    """Returns a message as a value."""
    return Snapshot(
        _rows(message.leaderboard),
        message.board,
        message.period,
        int(message.version),
        players=int(message.players),
        stale=message.stale,
    )


def frame_to_snapshot(frame: stream_pb2.LeaderboardUpdate) -> Snapshot:
    """Returns a whole frame of a watch as a value."""
    me = Me(frame.me.rank, int(frame.me.score)) if frame.HasField("me") else None
    rows = _rows(frame.leaderboard)
    return Snapshot(rows, frame.board, frame.period, int(frame.version), closed=frame.closed, me=me)


def to_place(message: leaderboard_pb2.GetRankResponse) -> Place:
    """Returns a message as a value."""
    return Place(
        message.rank,
        message.user_id,
        message.username,
        int(message.score),
        int(message.players),
        message.board,
        message.period,
        message.approximate,
    )


def to_board(message: leaderboard_pb2.Board) -> Board:
    """Returns a message as a value."""
    periods = tuple(Period(one.label, one.starts_at, one.ends_at, one.closed) for one in message.periods)
    return Board(message.name, message.operator, message.period_kind, periods)


def to_profile(message: auth_pb2.Profile) -> Profile:
    """Returns a message as a value."""
    return Profile(message.user_id, message.username)


def _rows(rows: Iterable[common_pb2.Row]) -> tuple[Row, ...]:
    return tuple(Row(row.rank, row.user_id, row.username, int(row.score)) for row in rows)
