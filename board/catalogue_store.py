"""Keeps the catalogue in Postgres: reads the one that holds, and puts a file in its place.

board/catalogue.py decides what a file may say and change. Holds always: a revision is one transaction, so nobody reads
the boards of one with the actions of another; a board counts the ledger rows of the revision that made it and later.
"""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from board.catalogue import Action, Board, BoardRule, Catalogue, diff, parse
from board.entry import Operator
from board.periods import PeriodKind
from mesh.sql import Connection, load

_SQL = load("board", "catalogue.sql")


@dataclass(frozen=True, slots=True)
class Applied:
    """What a file changed (or would), a line each, and the revision that holds then."""

    changes: tuple[str, ...]
    revision: int


async def load_catalogue(conn: Connection) -> Catalogue:
    """Returns the catalogue that holds; revision 0 and empty before the first was applied."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        return await _read(conn)


async def apply_catalogue(conn: Connection, toml: str, *, dry_run: bool = False) -> Applied:
    """Puts the text of scoreboard.toml in place of the catalogue. Needs the rights of the owner or of admin_svc.

    An equal one changes nothing and takes no revision. Raises CatalogueError for a file that is none, or may not
    follow the present one.
    """
    file = parse(toml)
    async with conn.transaction():
        await conn.execute(_SQL["lock_catalogue"])
        now = await _read(conn)
        changes = diff(now, file)
        if dry_run or not changes:
            return Applied(changes, now.revision)
        revision = now.revision + 1
        await conn.execute(_SQL["add_revision"], revision, toml)
        await conn.executemany(_SQL["put_action"], [_action_row(a, revision) for a in file.actions.values()])
        await conn.execute(_SQL["switch_off_others"], list(file.actions), revision)
        await conn.executemany(_SQL["put_board"], [_board_row(b, revision) for b in file.boards.values()])
        return Applied(changes, revision)


async def _read(conn: Connection) -> Catalogue:
    actions = {
        row["action_id"]: Action(
            row["action_id"],
            row["points"],
            row["reporter"] == 1,
            row["value_min"],
            row["value_max"],
            row["cooldown"],
            row["cap_count"],
            row["cap_window"],
            row["enabled"],
        )
        for row in await conn.fetch(_SQL["read_actions"])
    }
    boards = {
        row["name"]: Board(
            name=row["name"],
            operator=Operator(row["operator"]),
            period=PeriodKind(row["period"]),
            zone=ZoneInfo(row["time_zone"]),
            actions=None if row["actions"] is None else frozenset(row["actions"]),
            grace=row["grace"],
            keep=row["keep"],
            board_id=row["board_id"],
            revision=row["revision"],
        )
        for row in await conn.fetch(_SQL["read_boards"])
    }
    return Catalogue(await conn.fetchval(_SQL["read_revision"]), actions, boards)


def _action_row(action: Action, revision: int) -> tuple[object, ...]:
    return (
        action.action_id,
        action.points,
        int(action.server_only),
        action.value_min,
        action.value_max,
        action.cooldown,
        action.cap_count,
        action.cap_window,
        action.enabled,
        revision,
    )


def _board_row(board: BoardRule, revision: int) -> tuple[object, ...]:
    actions = None if board.actions is None else sorted(board.actions)
    zone = board.zone.key
    return (board.name, board.operator, board.period, zone, actions, board.grace, board.keep, revision)
