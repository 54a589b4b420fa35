"""Finds a player and tells what operators see of one."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from admin_svc.answer import ledger_row, rfc3339
from admin_svc.ledger_query import last_rows
from admin_svc.operators import is_above
from board.catalogue_cache import CatalogueCache
from board.ledger import State
from board.period_store import open_periods
from board.reading import BoardReading
from mesh.identity import ROLES, Identity
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.sql import load
from scoreboard.v1 import admin_pb2 as pb
from scoreboard.v1.common_pb2 import Row

_SQL = load(__package__, "users.sql")
LAST_ROWS = 20


@dataclass(frozen=True, slots=True)
class Player:
    """A row of users. version: of name and state."""

    ref: int
    user_id: str
    username: str
    state: State
    role: str
    version: int
    created_at: datetime

    def check_reach(self, operator: Identity) -> None:
        """Raises Refused(SCOPE_MISSING) for an operator whose role is below this player's."""
        if is_above(self.role, operator.role):
            message = f"Only the role {self.role} may act on this player."
            raise Refused(Reason.SCOPE_MISSING, message, needed=self.role)


class Users:
    """Players in Postgres, with their places as readers of the boards see them."""

    def __init__(self, pool: asyncpg.Pool, catalogue: CatalogueCache, reading: BoardReading) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._reading = reading

    async def find(self, user_id: str) -> Player:
        """Returns the player. Raises Refused(UNKNOWN_USER), and the errors of mesh.postgres.AWAY."""
        row = await self._pool.fetchrow(_SQL["find_player"], user_id)
        if row is None:
            raise unknown_user(user_id)
        return _player(row)

    async def describe(self, ref: int) -> pb.AdminUser:
        """Returns all that operators see of the player with that inner number; raises as `find`."""
        row = await self._pool.fetchrow(_SQL["read_player"], ref)
        assert row is not None, "players' rows are never removed"
        player = _player(row)
        entries = await self._entries(player.user_id)
        return pb.AdminUser(
            user_id=player.user_id,
            username=player.username,
            state=player.state.name.lower(),
            role=player.role,
            created_at=rfc3339(player.created_at),
            entries=[row for _, row in entries],
            entry_boards=[board for board, _ in entries],
            last=[ledger_row(row) for row in await last_rows(self._pool, ref, LAST_ROWS)],
            sessions=await self._pool.fetchval(_SQL["count_sessions"], ref),
        )

    async def _entries(self, user_id: str) -> list[tuple[str, Row]]:
        """Returns the player's places on open boards, each with the board and its period."""
        names = {board.board_id: board.name for board in self._catalogue.current.boards.values()}
        now = datetime.now(UTC)
        periods = [
            stored
            for stored in await open_periods(self._pool)
            # The next period's row is made a little before it begins.
            if stored.board.board_id in names and (stored.period.start.tzinfo is None or stored.period.start <= now)
        ]
        places = await asyncio.gather(*(self._reading.place(stored.board, user_id) for stored in periods))
        return [
            (
                f"{names[stored.board.board_id]} {stored.period.label}",
                Row(rank=at.row.rank, user_id=at.row.user_id, username=at.row.username, score=at.row.score),
            )
            for stored, (at, _) in zip(periods, places, strict=True)
            if at is not None
        ]


def unknown_user(user_id: str) -> Refused:
    """Returns the refusal of a player who is not there."""
    return Refused(Reason.UNKNOWN_USER, f"There is no player {user_id!r}.", user_id=user_id)


def _player(row: asyncpg.Record) -> Player:
    return Player(
        row["id"],
        row["user_id"],
        row["username"],
        State(row["state"]),
        ROLES[row["role"]],
        row["version"],
        row["created_at"],
    )
