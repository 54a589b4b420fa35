"""The statements of acts on a player as a whole, as typed functions: ban, erasure, new name, reversal.

Thin as board/ledger.py, whose rules hold here too: the player is locked first, and a ledger row is never written again.
Whatever changes entries raises ActTooSlow past the connection's own timeout.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from board.catalogue_store import Applied, apply_catalogue
from board.dead_letters import remove_dead_letters
from board.entry import Entry
from board.ledger import Kind, Outcome, State, entry_of
from board.player import read_dead_letters
from mesh.sql import Connection, load

_SQL = load("board", "acts.sql")
ERASED_NAME = "erased player"


class ActTooSlow(Exception):  # noqa: N818 — named for what is so
    """A statement of the act takes too long on a server that answered the act's first one: the act's own error.

    Where the server answers no more, undoing the act fails in its turn, and that is raised instead.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ActRow:
    """The ledger row of an act."""

    update_id: UUID
    user_ref: int
    action_id: str
    kind: Kind
    outcome: Outcome
    reason: str | None
    score_change: int
    score_after: int
    reporter: str | None
    reverses: UUID | None
    revision: int
    accepted_at: datetime


async def add_act(conn: Connection, row: ActRow) -> datetime | None:
    """Adds the row and returns when it was applied; None: its id is in the ledger already."""
    applied_at: datetime | None = await conn.fetchval(
        _SQL["add_act"],
        row.update_id,
        row.user_ref,
        row.action_id,
        row.kind,
        row.outcome,
        row.reason,
        row.score_change,
        row.score_after,
        row.reporter,
        row.reverses,
        row.revision,
        row.accepted_at,
    )
    return applied_at


async def log_act(
    conn: Connection,
    *,
    actor: str,
    action: str,
    target: str,
    reason: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> None:
    """Adds a line to the admin log. Nothing of it may say who a player is: it outlives an erasure."""
    await conn.execute(_SQL["log_act"], actor, action, target, reason, json.dumps(before), json.dumps(after))


async def set_state(conn: Connection, user_ref: int, state: State) -> list[Entry]:
    """Bans a player, or ends the ban. Returns what the view must show."""
    entries = "show_entries" if state is State.ACTIVE else "hide_entries"
    with _told_apart():
        await conn.execute(_SQL["set_state"], user_ref, state)
        return [entry_of(row) for row in await conn.fetch(_SQL[entries], user_ref)]


async def set_role(conn: Connection, user_ref: int, role: int) -> None:
    """Gives a player a role. Needs the owner's rights: no service may."""
    await conn.execute(_SQL["set_role"], user_ref, role)


async def is_name_taken(conn: Connection, user_ref: int, key: str) -> bool:
    """Whether another player has the name."""
    return bool(await conn.fetchval(_SQL["is_name_taken"], user_ref, key))


async def rename(conn: Connection, user_ref: int, name: str, key: str | None, *, is_active: bool) -> list[Entry]:
    """Gives a player another name. Returns what the view must show. Raises asyncpg.UniqueViolationError."""
    with _told_apart():
        await conn.execute(_SQL["rename"], user_ref, name, key)
        if not is_active:
            return []  # no board shows the player
        return [entry_of(row) for row in await conn.fetch(_SQL["touch_entries"], user_ref)]


async def erase(conn: Connection, user_ref: int) -> list[Entry]:
    """Erases a player: name, role, password, sessions, identities, places, letters. Returns what to show.

    A dead letter says who that was, and could only be refused from now on.
    """
    with _told_apart():
        # A login locks the password, then by its session the player: in this order, or each would wait for the other.
        await conn.execute(_SQL["erase_credentials"], user_ref)
        user_id = await conn.fetchval(_SQL["lock_out"], user_ref)
        letters = await read_dead_letters(conn, user_id, timeout_s=None)
        await remove_dead_letters(conn, [letter.update_id for letter in letters])
        await conn.execute(_SQL["erase"], user_ref, State.DELETED, ERASED_NAME)
        # Passwords once more: a guest may have set a first one before the lock.
        for what in ("erase_role", "erase_credentials", "erase_sessions", "erase_identities"):
            await conn.execute(_SQL[what], user_ref)
        return [entry_of(row) for row in await conn.fetch(_SQL["hide_entries"], user_ref)]


async def take_back(
    conn: Connection, user_ref: int, update_id: UUID, *, is_active: bool
) -> tuple[list[Entry], list[Entry]]:
    """Undoes an applied update whose reversal the ledger has.

    Returns all entries that it changed, and those of them in open periods.
    """
    with _told_apart():
        rows = await conn.fetch(_SQL["take_back"], user_ref, update_id, is_active)
    return [entry_of(row) for row in rows], [entry_of(row) for row in rows if row["state"] == 0]


async def copy_score(conn: Connection, entry: Entry) -> None:
    """Copies a player's all-time entry, which a reversal changed, to users.score."""
    await conn.execute(_SQL["copy_score"], entry.user_ref, entry.score)


async def open_entries(conn: Connection, user_ref: int) -> list[Entry]:
    """Returns a player's entries in open periods, to write the view again."""
    return [entry_of(row) for row in await conn.fetch(_SQL["open_entries"], user_ref)]


@contextmanager
def _told_apart() -> Iterator[None]:
    """Tells a slow statement from a server that is away; the player's lock was had on this connection just now."""
    try:
        yield
    except TimeoutError as e:
        raise ActTooSlow from e


async def apply_catalogue_and_log(conn: Connection, toml: str, *, actor: str, reason: str, dry_run: bool) -> Applied:
    """Puts a catalogue in place, with a line in the admin log when that changed something.

    Raises as catalogue_store.apply_catalogue.
    """
    applied = await apply_catalogue(conn, toml, dry_run=dry_run)
    if applied.changes and not dry_run:
        await log_act(
            conn,
            actor=actor,
            action="apply",
            target="catalogue",
            reason=reason,
            before={"revision": applied.revision - 1},
            after={"revision": applied.revision, "changes": list(applied.changes)},
        )
    return applied
