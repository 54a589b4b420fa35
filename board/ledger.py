"""The statements of one batch in Postgres, in the order of DESIGN, decision 10, as typed functions.

Thin on purpose: worker/ decides what is written, this binds it. Holds always: players are locked in the order of their
inner numbers before anything else, ledger rows go in by ascending id, entries by key, so workers never deadlock; and a
ledger row that is there is never written again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from asyncpg import Record

from board.entry import BoardKey, Entry, EntryChange, Operator, UserName
from board.fold import LedgerChange
from board.job_pb2 import Result
from mesh.sql import Connection, Executor, load

_SQL = load("board", "ledger.sql")
_PUT_ENTRIES = {
    Operator.SUM: "put_sum_entries",
    Operator.BEST: "put_best_entries",
    Operator.LAST: "put_last_entries",
}


class Kind(IntEnum):
    """What a ledger row is: `score_logs.kind`."""

    UPDATE = 0
    REVERSAL = 1
    ADJUSTMENT = 2
    IMPORT = 3
    BAN = 4
    UNBAN = 5
    DELETE = 6
    RENAME = 7

    @property
    def word(self) -> str:
        """How jobs, answers and logs spell it: `Job.kind`."""
        return self.name.lower()


class State(IntEnum):
    """`users.state`."""

    ACTIVE = 0
    BANNED = 1
    DELETED = 2


class Outcome(IntEnum):
    """What the ledger says of an update."""

    APPLIED = 0
    REFUSED = 1


PARKED = 2  # `Result.outcome` of a job in the dead letters; the others are Outcome


class LockedUser(NamedTuple):
    """A player under this transaction's lock. state: 0 active, 1 banned, 2 deleted. score: before the batch."""

    user_ref: int
    user_id: str
    username: str
    state: int
    score: int
    version: int

    @property
    def name(self) -> UserName:
        """Returns what boards show of the player."""
        return UserName(self.user_ref, self.version, self.user_id, self.username)


class LedgerRow(NamedTuple):
    """A row to write. value: what best and last boards take, None: the points. reporter: None for the player."""

    update_id: UUID
    user_ref: int
    action_id: str
    outcome: Outcome
    reason: str | None
    score_change: int
    value: int | None
    score_after: int
    reporter: str | None
    accepted_at: datetime

    @property
    def change(self) -> LedgerChange:
        """Returns what the fold takes of an applied row."""
        return LedgerChange(self.user_ref, self.action_id, self.score_change, self.value, self.accepted_at)


@dataclass(frozen=True, slots=True)
class RecordedUpdate:
    """A row that the ledger has, with the player's public names: the answer to a retry and to GetUpdate."""

    update_id: UUID
    user_ref: int
    user_id: str
    username: str
    action_id: str
    kind: int
    outcome: Outcome
    reason: str | None
    score_change: int
    score_after: int | None
    reporter: str | None
    accepted_at: datetime
    applied_at: datetime
    value: int | None
    revision: int
    reverses: UUID | None
    seal_no: int | None = None  # of the seal that covers it, where that was asked for

    @property
    def result(self) -> Result:
        """Returns the answer that the row is."""
        return Result(
            update_id=self.update_id.bytes,
            outcome=self.outcome,
            reason=self.reason or "",
            score_after=self.score_after or 0,
            points=self.score_change,
            username=self.username,
            action_id=self.action_id,
        )


@dataclass(frozen=True, slots=True)
class ActionUsage:
    """How often a player used an action: when last, and how often in the window that began at window_start."""

    user_ref: int
    action_id: str
    last_at: datetime
    window_start: datetime
    used: int


async def lock_users(conn: Connection, user_ids: Iterable[str]) -> tuple[list[LockedUser], datetime | None]:
    """Locks the players until the transaction ends; returns those that exist, and the transaction's instant.

    The instant is what the batch's rows carry as applied_at; None when no player exists.
    """
    rows = await conn.fetch(_SQL["lock_users"], list(set(user_ids)))
    users = [
        LockedUser(row["id"], row["user_id"], row["username"], row["state"], row["score"], row["version"])
        for row in rows
    ]
    return users, rows[0]["applied_at"] if rows else None


async def find_updates(db: Executor, update_ids: Iterable[UUID]) -> dict[UUID, RecordedUpdate]:
    """Returns the ledger's rows of these updates, those that are there, in one query."""
    rows = await db.fetch(_SQL["read_rows"], list(update_ids))
    return {row["id"]: recorded_of(row) for row in rows}


async def read_usage(
    conn: Connection, user_refs: Iterable[int], action_ids: Iterable[str]
) -> dict[tuple[int, str], ActionUsage]:
    """Returns the usage by (user_ref, action_id), for all pairs of both that have one."""
    rows = await conn.fetch(_SQL["read_usage"], list(set(user_refs)), list(set(action_ids)))
    return {(row["user_ref"], row["action_id"]): ActionUsage(*row) for row in rows}


async def add_rows(
    conn: Connection, rows: Sequence[LedgerRow], *, revision: int, applied_at: datetime
) -> frozenset[UUID]:
    """Adds the rows that are not there yet and returns their ids. revision: of the catalogue that decided them."""
    added = await conn.fetch(
        _SQL["add_rows"],
        [row.update_id for row in rows],
        [row.user_ref for row in rows],
        [row.action_id for row in rows],
        [row.outcome for row in rows],
        [row.reason for row in rows],
        [row.score_change for row in rows],
        [row.value for row in rows],
        [row.score_after for row in rows],
        [row.reporter for row in rows],
        [row.accepted_at for row in rows],
        revision,
        applied_at,
    )
    return frozenset(row["id"] for row in added)


async def put_usage(conn: Connection, usage: Sequence[ActionUsage]) -> None:
    """Writes the usage; at most one of a (user_ref, action_id)."""
    await conn.execute(
        _SQL["put_usage"],
        [one.user_ref for one in usage],
        [one.action_id for one in usage],
        [one.last_at for one in usage],
        [one.window_start for one in usage],
        [one.used for one in usage],
    )


async def put_entries(conn: Connection, folded: Mapping[Operator, Sequence[EntryChange]], all_time: int) -> list[Entry]:
    """Writes what board.fold.fold returned and returns the entries as they are now: exactly what goes to Redis.

    all_time: id of the board (a sum) whose scores are copied to the players, who must be locked. Raises
    asyncpg.CheckViolationError when a score would leave ±2^53.
    """
    entries: list[Entry] = []
    for operator in sorted(folded):
        changes = folded[operator]
        rows = await conn.fetch(
            _SQL[_PUT_ENTRIES[operator]],
            [change.board.board_id for change in changes],
            [change.board.period_start for change in changes],
            [change.user_ref for change in changes],
            [change.score for change in changes],
            [change.reached_at for change in changes],
            *([all_time] if operator is Operator.SUM else []),
        )
        entries.extend(map(entry_of, rows))
    return entries


async def read_entries(db: Executor, boards: Iterable[BoardKey], user_refs: Iterable[int]) -> list[Entry]:
    """Returns the players' entries on these boards, to write the view again after a duplicate."""
    keys = list(boards)
    ids, starts = [key.board_id for key in keys], [key.period_start for key in keys]
    return [entry_of(row) for row in await db.fetch(_SQL["read_entries"], ids, starts, list(set(user_refs)))]


async def read_names(db: Executor, user_refs: Iterable[int]) -> list[UserName]:
    """Returns what boards show of these players."""
    return [UserName(*row) for row in await db.fetch(_SQL["read_names"], list(set(user_refs)))]


def entry_of(row: Record) -> Entry:
    """Returns the entry of a row of board_entries."""
    return Entry(
        BoardKey(row["board_id"], row["period_start"]),
        row["user_ref"],
        row["score"],
        row["reached_at"],
        row["version"],
        row["hidden"],
    )


def recorded_of(row: Record) -> RecordedUpdate:
    """Returns what a row of the query read_rows says."""
    return RecordedUpdate(
        row["id"],
        row["user_ref"],
        row["user_id"],
        row["username"],
        row["action_id"],
        row["kind"],
        Outcome(row["outcome"]),
        row["reason"],
        row["score_change"],
        row["score_after"],
        row["reporter"],
        row["accepted_at"],
        row["applied_at"],
        row["value"],
        row["revision"],
        row["reverses"],
        row.get("seal_no"),
    )
