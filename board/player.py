"""Reads what Postgres keeps of one player: who it is, the ledger rows, limits, dead letters, sessions.

Writes nothing; needs the owner's rights. board/explain.py puts it beside the view.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from google.protobuf.message import DecodeError

from board.catalogue import Action
from board.catalogue_store import load_catalogue
from board.job_pb2 import Job
from board.ledger import Kind, Outcome, State
from board.username import username_key
from mesh.sql import Connection, load

_SQL = load("board", "player.sql")
ROLES = ("player", "moderator", "operator", "admin")  # users.role
_SHOWS = 2  # the last `match` of find_players
SECONDS = 120.0  # all that a busy player ever did


@dataclass(frozen=True, slots=True)
class Player:
    """Who it is. user_ref: the inner number. score: `users.score`. sessions: those that have not ended."""

    user_ref: int
    user_id: str
    username: str
    state: str
    role: str
    score: int
    created_at: datetime
    sessions: int


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A row of the ledger, with the boards and periods that it counts on."""

    update_id: UUID
    kind: str
    action_id: str
    outcome: str
    reason: str | None
    points: int
    value: int | None
    score_after: int | None
    reporter: str | None
    reverses: UUID | None
    revision: int
    accepted_at: datetime
    applied_at: datetime
    is_taken_back: bool
    counted_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """What is left of a limited action. used: in the window of now; next_at: when it may count again, None: now."""

    action_id: str
    cooldown_s: float | None
    cap_count: int | None
    cap_window_s: float | None
    used: int
    last_at: datetime | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A job of the player's that lies in the dead letters. kind: `update`, or that of an act."""

    update_id: UUID
    kind: str
    action_id: str
    reason: str
    attempts: int
    first_failed_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """When a session began and ended."""

    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Under which name another issuer knows the player."""

    issuer: str
    subject: str
    created_at: datetime


async def find_players(conn: Connection, text: str, *, shown: bool = True) -> list[Player]:
    """Returns whom this can mean: the player whose user_id it is, the account of that name, who else shows that name.

    In this order, 10 at most. shown: those who only show it, too: guests, and players of a studio's.
    """
    rows = await conn.fetch(_SQL["find_players"], text, username_key(text))
    return [_player(row) for row in rows if shown or row["match"] < _SHOWS]


async def read_staff(conn: Connection) -> list[Player]:
    """Returns everybody with a role, the highest first."""
    return [_player(row) for row in await conn.fetch(_SQL["staff"])]


async def read_player(conn: Connection, user_id: str) -> Player | None:
    """Returns the player of an id."""
    return next((one for one in await find_players(conn, user_id) if one.user_id == user_id), None)


async def read_ledger(conn: Connection, user_ref: int, rows: int | None) -> tuple[LedgerLine, ...]:
    """Returns a player's ledger rows, the last applied first. rows: at most so many, None: all."""
    found = await conn.fetch(_SQL["ledger"], user_ref, rows, timeout=SECONDS)
    return tuple(
        LedgerLine(
            **{
                **row,
                "kind": Kind(row["kind"]).word,
                "outcome": Outcome(row["outcome"]).name.lower(),
                "counted_on": tuple(row["counted_on"]),
            }
        )
        for row in found
    )


async def read_limits(conn: Connection, user_ref: int) -> tuple[Limit, ...]:
    """Returns what is left to a player of every action with a cooldown or a cap, as the ledger counts it."""
    now: datetime = await conn.fetchval("SELECT clock_timestamp()")
    actions = (await load_catalogue(conn)).actions
    limited = [one for one in actions.values() if one.enabled and (one.cooldown or one.cap_count)]
    starts = [action.cap_window_start(now) for action in limited]
    found = await conn.fetch(_SQL["usage"], user_ref, [action.action_id for action in limited], starts)
    return tuple(_limit(actions[row["action_id"]], row["last_at"], row["used"], now) for row in found)


def _limit(action: Action, last_at: datetime | None, used: int, now: datetime) -> Limit:
    return Limit(
        action_id=action.action_id,
        cooldown_s=action.cooldown.total_seconds() if action.cooldown else None,
        cap_count=action.cap_count,
        cap_window_s=action.cap_window.total_seconds() if action.cap_window else None,
        used=used,
        last_at=last_at,
        next_at=next_at(action, last_at, used, now),
    )


async def read_dead_letters(
    conn: Connection, user_id: str, *, timeout_s: float | None = SECONDS
) -> tuple[GivenUp, ...]:
    """Returns a player's dead letters, the oldest first. timeout_s: None for the connection's own."""
    letters = []
    for row in await conn.fetch(_SQL["dead_letters"], user_id.encode(), timeout=timeout_s):
        try:
            job = Job.FromString(row["job"])
        except DecodeError:
            continue  # bytes that are no job have no owner
        if job.user_id == user_id:
            key, reason = row["update_id"], row["reason"]
            letters.append(GivenUp(key, job.kind, job.action_id, reason, row["attempts"], row["first_failed_at"]))
    return tuple(letters)


async def read_sessions(conn: Connection, user_ref: int) -> tuple[Session, ...]:
    """Returns when a player's sessions began and ended, the last first."""
    return tuple(Session(*row) for row in await conn.fetch(_SQL["sessions"], user_ref))


async def read_identities(conn: Connection, user_ref: int) -> tuple[Identity, ...]:
    """Returns by whom else a player is known."""
    return tuple(Identity(*row) for row in await conn.fetch(_SQL["identities"], user_ref))


def next_at(action: Action, last_at: datetime | None, used: int, now: datetime) -> datetime | None:
    """Returns when the action may count again; None: now. last_at: when it last counted; used: in the window of now."""
    waits = []
    if action.cooldown is not None and last_at is not None:
        waits.append(last_at + action.cooldown)
    if action.cap_count is not None and action.cap_window is not None and used >= action.cap_count:
        waits.append(action.cap_window_start(now) + action.cap_window)
    return max((wait for wait in waits if wait > now), default=None)


def _player(row: asyncpg.Record) -> Player:
    return Player(
        user_ref=row["user_ref"],
        user_id=row["user_id"],
        username=row["username"],
        state=State(row["state"]).name.lower(),
        role=ROLES[row["role"]],
        score=row["score"],
        created_at=row["created_at"],
        sessions=row["sessions"],
    )
