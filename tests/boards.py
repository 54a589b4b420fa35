"""Players, entries and ledger rows for tests of boards, written as the worker writes them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from board import ledger
from board.catalogue import Catalogue
from board.catalogue_store import apply_catalogue, load_catalogue
from board.entry import BoardKey, Entry
from board.fold import boards_touched, fold
from board.ledger import LedgerRow, Outcome
from board.period_store import ensure_periods
from board.update_id import derive_update_id
from mesh.postgres import create_pool
from mesh.redis import connect
from tests.servers import Database, RedisServer

TOML = (Path(__file__).parent.parent / "scoreboard.toml").read_text()
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
REDIS_TIMEOUT_S = 10.0  # a busy machine is not a Redis that is away


@dataclass(frozen=True)
class World:
    """A database and an empty Redis, as their owner and as the worker see them, with the default catalogue."""

    owner: asyncpg.Pool
    worker: asyncpg.Pool
    redis: Redis
    catalogue: Catalogue

    @property
    def all(self) -> BoardKey:
        """The key of the board `all`."""
        return self.key("all", START)

    def key(self, board: str, instant: datetime) -> BoardKey:
        """The key of a board's period in which the instant lies."""
        rule = self.catalogue.boards[board]
        return BoardKey(rule.board_id, rule.period_at(instant).start)


@asynccontextmanager
async def make_world(database: Database, redis_view: RedisServer, toml: str = TOML) -> AsyncIterator[World]:
    """Applies the catalogue and opens what a test writes and reads with."""
    redis = connect(redis_view.url("worker"), timeout_s=REDIS_TIMEOUT_S)
    async with (
        await create_pool(database.url(), name="test owner", size=4, command_timeout_s=60) as owner,
        await create_pool(database.url("worker"), name="test worker", size=8, command_timeout_s=60) as worker,
        redis,
        owner.acquire() as conn,
    ):
        await apply_catalogue(conn, toml)
        yield World(owner, worker, redis, await load_catalogue(conn))


async def add_players(world: World, count: int) -> list[int]:
    """Adds p1, p2, … with the shown names P1, P2, … and returns their inner numbers."""
    rows = await world.owner.fetch(
        "INSERT INTO users (user_id, username) SELECT 'p' || n, 'P' || n FROM generate_series(1, $1) n RETURNING id",
        count,
    )
    return sorted(row["id"] for row in rows)


async def put_entries(world: World, entries: Sequence[Entry]) -> None:
    """Puts entries into Postgres as they are."""
    await world.owner.executemany(
        "INSERT INTO board_entries (board_id, period_start, user_ref, score, reached_at, version, hidden)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (board_id, period_start, user_ref) DO UPDATE"
        " SET score = $4, reached_at = $5, version = $6, hidden = $7",
        [(*e.board, e.user_ref, e.score, e.reached_at, e.version, e.hidden) for e in entries],
    )


async def empty(world: World) -> None:
    """Takes all players and entries from Postgres, where nothing else is of them; the next player is number 1."""
    await world.owner.execute("DELETE FROM board_entries; DELETE FROM users; ALTER TABLE users ALTER id RESTART")


def row(
    user: str,
    ref: int,
    nonce: str,
    points: int,
    *,
    at: datetime = START,
    action: str = "win-round",
    value: int | None = None,
    applied: bool = True,
) -> LedgerRow:
    """Returns a ledger row whose id is derived as score_svc derives it."""
    update_id = derive_update_id(int(at.timestamp() * 1000), reporter="", user_id=user, nonce=nonce)
    outcome = Outcome.APPLIED if applied else Outcome.REFUSED
    reason = None if applied else "COOLDOWN"
    return LedgerRow(update_id, ref, action, outcome, reason, points if applied else 0, value, 0, None, at)


async def apply_rows(
    world: World, rows: Sequence[LedgerRow], user_ids: Sequence[str], *, applied_at: datetime = START
) -> list[Entry]:
    """Does one transaction of DESIGN, decision 10, steps 1 to 6, and returns the entries that it changed.

    applied_at: the transaction's instant; not the wall clock's, by which the periods of START have closed.
    """
    boards = list(world.catalogue.boards.values())
    touched = [(board, board.period_at(r.accepted_at)) for board in boards for r in rows]
    stored = await ensure_periods(world.worker, [(board.board_id, board, period) for board, period in touched])
    async with world.worker.acquire() as conn, conn.transaction():
        await ledger.lock_users(conn, user_ids)
        added = await ledger.add_rows(conn, rows, revision=world.catalogue.revision, applied_at=applied_at)
        changes = [r.change for r in rows if r.update_id in added and r.outcome is Outcome.APPLIED]
        closes_at = {period.board: period.closes_at for period in stored}
        assert boards_touched(boards, changes) <= closes_at.keys()
        folded = fold(boards, changes, applied_at=applied_at, closes_at=closes_at)
        return await ledger.put_entries(conn, folded, world.all.board_id)


def random_rows(source: random.Random, refs: Sequence[int], count: int, first: datetime = START) -> list[LedgerRow]:
    """Returns applied rows of players p1, p2, … over three days, many of them at the same instant."""
    rows = []
    for number in range(count):
        player = source.randrange(len(refs))
        at = first + timedelta(hours=source.randrange(-36, 36))
        value = source.choice([None, source.randrange(-20, 20)])
        action = source.choice(["win-round", "collect-coin"])
        points = source.randrange(-9, 10)
        rows.append(row(f"p{player + 1}", refs[player], str(number), points, at=at, action=action, value=value))
    return rows
