"""An upgrade from the first release: its schema with data becomes today's while its processes go on.

`tests/releases/first/` has the statements that the first release (commit 4434e1e) ran, as they were; its schema is the
first eight migrations, which never change.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from board.catalogue_store import apply_catalogue
from board.entry import BoardKey
from board.migrate import FOLDER, migrate
from board.periods import BEGINNING
from board.update_id import derive_update_id
from mesh.sql import parse
from scoreboard.local import database as databases
from tests.auditing import Ledger, ledger_of
from tests.servers import Database, PostgresServer
from tests.waiting import eventually
from tests.workers import CATALOGUE

RELEASE = Path(__file__).resolve().parents[1] / "releases" / "first"
SCHEMA = "873b900d55494928"
LAST = 8  # its newest migration
STATEMENTS = {path.stem: parse(path.name, path.read_text()) for path in sorted(RELEASE.glob("*.sql"))}
#: Which of its services ran which statements; the others were the owner's.
ROLES = {
    "auth_svc": ("auth_svc.keyring", "auth_svc.store"),
    "score_svc": ("score_svc.queries",),
    "worker": ("board.ledger", "board.period_store", "board.view", "worker.apply", "worker.views"),
    "leaderboard_svc": ("board.read",),
    "stream_svc": ("board.read",),
    "scoreboard": ("board.catalogue", "board.verify"),
}


def first_migrations() -> list[Path]:
    return sorted(FOLDER.glob("*.sql"))[:LAST]


def cases() -> Iterator[tuple[str, str, str]]:
    for role, modules in ROLES.items():
        for module in modules:
            for name in STATEMENTS[module]:
                yield role, module, name


@pytest.fixture
async def old(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A database as the first release made it."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name)
    database = Database(postgres_server, name)
    await asyncio.to_thread(migrate, database.url(), first_migrations()[-1].stem)
    async with ledger_of(database, tmp_path) as made:
        yield made
    await asyncio.to_thread(databases.drop_database, postgres_server.url(), name)


@pytest.fixture(scope="module")
async def upgraded(postgres_server: PostgresServer, template_database: str) -> AsyncIterator[Database]:
    """One database of today's schema for the statements that leave nothing behind."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name, template_database)
    yield Database(postgres_server, name)
    await asyncio.to_thread(databases.drop_database, postgres_server.url(), name)


class OldWorker:
    """Applies updates as the first release's worker did: its statements, its rights."""

    def __init__(self, ledger: Ledger, board: BoardKey) -> None:
        self._ledger = ledger
        self._board = board
        self.applied: set[UUID] = set()
        self.stopping = False

    async def apply(self, user_ids: list[str]) -> None:
        """Gives each player 50 points, in one transaction."""
        sql, now = STATEMENTS["board.ledger"], datetime.now(UTC)
        async with self._ledger.worker.acquire() as conn, conn.transaction():
            users = await conn.fetch(sql["lock_users"], user_ids)
            refs, count = [user["id"] for user in users], len(users)
            key = int(now.timestamp() * 1000)
            ids = sorted(derive_update_id(key, reporter="", user_id=u, nonce=uuid4().hex) for u in user_ids)
            assert await conn.fetch(sql["read_rows"], ids) == []
            nothing, points = [None] * count, [50] * count
            after = [user["score"] + 50 for user in users]
            await conn.fetch(
                sql["add_rows"],
                ids,
                refs,
                ["win-round"] * count,
                [0] * count,
                nothing,
                points,
                nothing,
                after,
                nothing,
                [now] * count,
                1,
                users[0]["applied_at"],
            )
            boards, starts = [self._board.board_id] * count, [self._board.period_start] * count
            await conn.fetch(sql["put_sum_entries"], boards, starts, refs, points, [now] * count)
            await conn.execute(sql["copy_scores"], refs, after)
        self.applied |= set(ids)

    async def keep(self, user_ids: list[str]) -> None:
        """Goes on until told to stop; like that worker it tries again after a deadlock, and raises what else fails."""
        while not self.stopping:
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                await self.apply(user_ids)


async def test_the_first_releases_schema_is_what_it_was() -> None:
    text = b"".join(path.read_bytes() for path in first_migrations())
    assert hashlib.sha256(text).hexdigest()[:16] == SCHEMA, "a migration that was released is never edited"


async def test_an_upgrade_under_load_loses_nothing_and_stops_nobody(old: Ledger) -> None:
    players = [f"u{number}" for number in range(5)]
    async with old.owner.acquire() as conn:
        await conn.execute("INSERT INTO users (user_id, username) SELECT u, u FROM unnest($1::text[]) u", players)
    worker = await _worker(old)
    await worker.apply(players)
    writing = asyncio.create_task(worker.keep(players))
    try:
        await asyncio.to_thread(migrate, old.database.url())
        count = len(worker.applied)
        await eventually(lambda: writing.done() or len(worker.applied) > count + 20, 30, "updates after the upgrade")
    finally:
        worker.stopping = True
        await writing
    rows = await old.owner.fetch(
        """SELECT u.user_id, u.score, e.score AS entry, count(*) AS rows, sum(l.score_change) AS fold
           FROM users u JOIN score_logs l ON l.user_ref = u.id JOIN board_entries e ON e.user_ref = u.id
           GROUP BY u.user_id, u.score, e.score"""
    )
    assert {row["user_id"] for row in rows} == set(players)
    assert all(row["score"] == row["entry"] == row["fold"] == 50 * row["rows"] for row in rows)
    assert {row["id"] for row in await old.owner.fetch("SELECT id FROM score_logs")} == worker.applied
    # What was written before there were seals is sealed like the rest.
    total = len(worker.applied)

    async def is_sealed() -> bool:
        await old.sealer().seal_all()
        return (await old.whole()).rows == total

    await eventually(is_sealed, 30, "seals over all of it")


async def _worker(old: Ledger) -> OldWorker:
    async with old.owner.acquire() as conn:
        # As the first release applied a catalogue; today's way knows columns of today.
        sql = STATEMENTS["board.catalogue"]
        await conn.execute(sql["add_revision"], 1, CATALOGUE)
        await conn.execute(sql["put_action"], "win-round", 50, 0, None, None, None, None, None, True, 1)
        await conn.execute(sql["put_board"], "all", 0, 0, "UTC", None, timedelta(minutes=15), None, 1)
        board = await conn.fetchval("SELECT board_id FROM boards")
    return OldWorker(old, BoardKey(board, BEGINNING))


@pytest.mark.parametrize(("role", "module", "name"), cases())
async def test_the_first_releases_statements_run_on_todays_schema(
    upgraded: Database, role: str, module: str, name: str
) -> None:
    statement = STATEMENTS[module][name].rstrip(";\n ")
    conn = await asyncpg.connect(upgraded.url(role))
    try:
        if statement.splitlines()[-1].startswith("LOCK"):
            async with conn.transaction():
                await conn.execute(statement)
        else:
            await conn.execute(f"EXPLAIN (GENERIC_PLAN) {statement}")  # it looks at columns, types and rights
    finally:
        await conn.close()


async def test_todays_catalogue_is_applied_to_an_upgraded_database(old: Ledger) -> None:
    await asyncio.to_thread(migrate, old.database.url())
    async with old.owner.acquire() as conn:
        assert (await apply_catalogue(conn, CATALOGUE)).revision == 1
