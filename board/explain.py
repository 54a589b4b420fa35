"""Explains one player's score: places as ledger, entries and view have them, and what they are made of.

Writes nothing; needs the owner's rights. The fold of the ledger is SQL here, as in board/verify.py, so that
board/fold.py is not its own witness. Holds always: all that comes from Postgres is one snapshot; the view, which
follows a commit by milliseconds, is read again until it agrees or has had its time.
"""

import asyncio
from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis

from board import keys, player, view
from board.catalogue import DEFAULT_BOARD
from board.entry import BoardKey
from board.order import encode_user
from board.player import GivenUp, Identity, LedgerLine, Limit, Player, Session
from mesh.sql import load

_SQL = load("board", "player.sql")
ATTEMPTS = 10  # with the pause: the view has five seconds to follow, as promised
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A place as one of the two stores has it. version: of the entry; rank: None for one that is hidden."""

    score: int | None
    version: int
    rank: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A player on one period of a board. ledger: the fold of the ledger, None for no rows that count.

    redis: None where the view has nothing of the player; in_view: whether the board is readable there.
    """

    board: str
    period: str
    ledger: int | None
    postgres: Place | None
    redis: Place | None
    in_view: bool
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a player's score is what it is."""

    player: Player
    standings: tuple[Standing, ...]
    ledger: tuple[LedgerLine, ...]
    limits: tuple[Limit, ...]
    dead_letters: tuple[GivenUp, ...]

    @property
    def agrees(self) -> bool:
        """Whether ledger, entries and view tell the same."""
        return not any(standing.differences for standing in self.standings)


@dataclass(frozen=True, slots=True)
class Copy:
    """Everything that is kept about a player, for whoever asks what is known of them."""

    player: Player
    identities: tuple[Identity, ...]
    sessions: tuple[Session, ...]
    standings: tuple[Standing, ...]
    ledger: tuple[LedgerLine, ...]
    dead_letters: tuple[GivenUp, ...]


async def explain(pool: asyncpg.Pool, redis: Redis, user_id: str, *, rows: int) -> Explanation | None:
    """Explains a player's score; None: there is no such player. rows: of the ledger, the last at most so many.

    Raises the drivers' errors when Postgres or Redis does not answer.
    """
    explained = None
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        explained = await _explain(pool, redis, user_id, rows)
        if explained is None or explained.agrees:
            break
    return explained


async def copy(pool: asyncpg.Pool, redis: Redis, user_id: str) -> Copy | None:
    """Returns everything that is kept about a player; None: there is no such player. Raises as `explain`."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        if (known := await player.read_player(conn, user_id)) is None:
            return None
        ref = known.user_ref
        identities, sessions = await player.read_identities(conn, ref), await player.read_sessions(conn, ref)
        found = await conn.fetch(_SQL["standings"], ref, True, timeout=player.SECONDS)
        ledger = await player.read_ledger(conn, ref, None)
        letters = await player.read_dead_letters(conn, user_id)
    standings = tuple([await _standing(redis, row, known) for row in found])
    return Copy(known, identities, sessions, standings, ledger, letters)


async def _explain(pool: asyncpg.Pool, redis: Redis, user_id: str, rows: int) -> Explanation | None:
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        if (known := await player.read_player(conn, user_id)) is None:
            return None
        found = await conn.fetch(_SQL["standings"], known.user_ref, False, timeout=player.SECONDS)
        ledger = await player.read_ledger(conn, known.user_ref, rows)
        limits = await player.read_limits(conn, known.user_ref)
        letters = await player.read_dead_letters(conn, user_id)
    standings = tuple([await _standing(redis, row, known) for row in found])
    return Explanation(known, standings, ledger, limits, letters)


async def _standing(redis: Redis, row: asyncpg.Record, known: Player) -> Standing:
    board = BoardKey(row["board_id"], row["period_start"])
    entry = None if row["version"] is None else Place(row["score"], row["version"], row["rank"])
    in_view = await view.is_ready(redis, board)
    shown = await _view_place(redis, board, known.user_ref) if in_view else None
    differences = [
        *_ledger_differences(row),
        *(_view_differences(entry, shown, hidden=row["hidden"]) if in_view and entry is not None else []),
    ]
    if row["board"] == DEFAULT_BOARD and (row["score"] or 0) != known.score:
        differences.append("entry and users.score")
    return Standing(row["board"], row["period"], row["ledger_score"], entry, shown, in_view, tuple(differences))


async def _view_place(redis: Redis, board: BoardKey, user_ref: int) -> Place | None:
    text = await redis.hget(keys.versions(board), encode_user(user_ref))
    if not isinstance(text, bytes):
        return None
    version, member = text.decode().split(" ", 1)
    rank = await redis.zrank(keys.places(board), member)
    minus_score = await redis.zscore(keys.places(board), member)
    if not isinstance(rank, int) or minus_score is None:
        return Place(None, int(version), None)
    return Place(-int(minus_score), int(version), rank + 1)


def _ledger_differences(row: asyncpg.Record) -> list[str]:
    ledger, kept = (row["ledger_score"], row["ledger_at"]), (row["score"], row["reached_at"])
    # Where every value of a best or a last board was taken back, a hidden entry is left, for its version.
    is_left = row["ledger_score"] is None and row["hidden"]
    return [] if ledger == kept or is_left else ["ledger and entry"]


def _view_differences(entry: Place, shown: Place | None, *, hidden: bool) -> list[str]:
    wanted = (None if hidden else entry.score, entry.version)
    return [] if shown is not None and (shown.score, shown.version) == wanted else ["entry and view"]
