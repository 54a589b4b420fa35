"""migrations/, board/migrate.py: the schema, its partitions, and what each service may do with it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from board.migrate import FOLDER, migrate
from scoreboard.local import database as databases
from tests.servers import Database, PostgresServer

REFUSED = [
    ("score_svc", "SELECT * FROM credentials"),
    ("score_svc", "SELECT secret_hash FROM clients"),
    ("score_svc", "SELECT * FROM clients"),
    ("score_svc", "SELECT username_key FROM users"),
    (
        "score_svc",
        "INSERT INTO score_logs (id, user_ref, action_id, accepted_at) VALUES (gen_random_uuid(), 1, 'a', now())",
    ),
    ("score_svc", "SELECT * FROM sessions"),
    ("worker", "SELECT * FROM credentials"),
    ("worker", "SELECT * FROM refresh_tokens"),
    ("worker", "UPDATE users SET role = 3"),
    ("worker", "SELECT password_hash FROM credentials"),
    ("worker", "UPDATE credentials SET password_hash = 'x'"),
    ("worker", "UPDATE admin_log SET reason = 'x'"),
    ("worker", "DELETE FROM admin_log"),
    ("worker", "UPDATE audit_seals SET row_count = 0"),
    ("worker", "DELETE FROM audit_leaves"),
    ("admin_svc", "INSERT INTO audit_leaves VALUES (1, '')"),
    ("worker", "UPDATE operation SET paused = true"),
    ("worker", "UPDATE score_logs SET score_change = 1"),
    ("worker", "DELETE FROM score_logs"),
    ("worker", "UPDATE actions SET points = 1000"),
    ("worker", "CREATE TABLE t (i int)"),
    ("leaderboard_svc", "UPDATE board_entries SET score = 1"),
    ("leaderboard_svc", "INSERT INTO board_periods VALUES (1, now(), now(), now(), 'x')"),
    ("leaderboard_svc", "SELECT * FROM credentials"),
    ("leaderboard_svc", "SELECT * FROM score_logs"),
    ("leaderboard_svc", "SELECT username_key FROM users"),
    ("leaderboard_svc", "SELECT ensure_partitions(now())"),
    ("stream_svc", "DELETE FROM board_entries"),
    ("stream_svc", "SELECT * FROM credentials"),
    ("stream_svc", "SELECT * FROM jwt_keys"),
    ("auth_svc", "INSERT INTO admin_log (actor, action, target, reason) VALUES ('a', 'b', 'c', 'd')"),
    ("admin_svc", "SELECT * FROM credentials"),
    ("admin_svc", "SELECT * FROM refresh_tokens"),
    ("admin_svc", "SELECT secret_hash FROM clients"),
    ("admin_svc", "UPDATE users SET state = 1"),
    ("admin_svc", "UPDATE admin_log SET reason = 'x'"),
    ("admin_svc", "DELETE FROM admin_log"),
    ("admin_svc", "UPDATE board_periods SET state = 1"),
    ("admin_svc", "INSERT INTO board_periods VALUES (1, now(), now(), now(), 'x')"),
    ("auth_svc", "SELECT end_role_of_erased(1)"),
    (
        "admin_svc",
        "INSERT INTO score_logs (id, user_ref, action_id, accepted_at) VALUES (gen_random_uuid(), 1, 'a', now())",
    ),
    ("auth_svc", "UPDATE users SET score = 1"),
    ("auth_svc", "UPDATE board_entries SET score = 1"),
    ("auth_svc", "INSERT INTO users (user_id, username, score) VALUES ('x', 'x', 1)"),
    ("auth_svc", "INSERT INTO users (user_id, username, role) VALUES ('x', 'x', 3)"),
    ("auth_svc", "UPDATE sessions SET expires_at = 'infinity'"),
    ("auth_svc", "UPDATE refresh_tokens SET expires_at = 'infinity'"),
    ("auth_svc", "UPDATE jwt_keys SET public_jwk = '{}'"),
    ("auth_svc", "DELETE FROM refresh_tokens"),
]

ALLOWED = [
    ("auth_svc", "SELECT * FROM credentials"),
    ("auth_svc", "INSERT INTO users (user_id, username, username_key) VALUES ('x', 'X', 'x')"),
    ("auth_svc", "SELECT secret_hash FROM clients"),
    ("score_svc", "SELECT client_id, role, actions, updates_per_second, disabled_at FROM clients"),
    ("score_svc", "SELECT id, user_id, username, state, score FROM users"),
    ("score_svc", "SELECT * FROM score_logs"),
    ("score_svc", "SELECT * FROM dead_letters"),
    ("worker", "SELECT id FROM users FOR NO KEY UPDATE"),
    ("worker", "DELETE FROM sessions WHERE user_ref = 1"),
    ("admin_svc", "SELECT * FROM score_logs"),
    ("admin_svc", "INSERT INTO board_rebuilds (board_id, period_start) VALUES (1, now())"),
    ("worker", "SELECT ensure_partitions(now())"),
    ("worker", "SELECT nextval('board_epoch')"),
    ("worker", "SELECT end_role_of_erased(1)"),
    ("leaderboard_svc", "SELECT user_id, username FROM users"),
    ("stream_svc", "SELECT * FROM board_entries"),
]


@pytest.fixture
async def empty(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database of the owner without any table."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name)
    yield Database(postgres_server, name)
    await asyncio.to_thread(databases.drop_database, postgres_server.url(), name)


@pytest.fixture(scope="module")
async def shared(postgres_server: PostgresServer, template_database: str) -> AsyncIterator[Database]:
    """One migrated database for the questions that leave nothing behind."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name, template_database)
    yield Database(postgres_server, name)
    await asyncio.to_thread(databases.drop_database, postgres_server.url(), name)


async def _fetchval(url: str, query: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


async def _try(url: str, statement: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        undo = conn.transaction()
        await undo.start()
        try:
            await conn.execute(statement)
        finally:
            await undo.rollback()
    finally:
        await conn.close()


async def test_migrations_that_run_at_once_and_again_apply_each_file_once(empty: Database) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, empty.url()) for _ in range(3)))
    await asyncio.to_thread(migrate, empty.url())
    applied = await _fetchval(empty.url(), "SELECT array_agg(migration_id ORDER BY migration_id) FROM _yoyo_migration")
    assert applied == sorted(file.stem for file in FOLDER.glob("*.sql"))


async def test_migration_files_say_their_number_and_whether_they_run_before_the_code() -> None:
    names = sorted(file.stem for file in FOLDER.glob("*.sql"))
    assert [name[:4] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]
    assert all(name[4:].startswith(("_pre_", "_post_")) for name in names)


@pytest.mark.parametrize("table", ["score_logs", "board_entries"])
async def test_partitions_reach_from_last_month_to_24_months_ahead(shared: Database, table: str) -> None:
    children = f"SELECT array_agg(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = '{table}'::regclass"
    found = await _fetchval(shared.url(), children)
    assert isinstance(found, list)
    now = datetime.now(UTC)
    first = now.year * 12 + now.month - 2
    months = [f"{table}_{month // 12}_{month % 12 + 1:02d}" for month in range(first, first + 26)]
    assert set(months) <= set(found)
    assert f"{table}_other" in found


async def test_an_acknowledged_commit_is_on_disk(shared: Database) -> None:
    for setting in ("synchronous_commit", "fsync", "full_page_writes"):
        assert await _fetchval(shared.url("worker"), f"SHOW {setting}") == "on"


@pytest.mark.parametrize(("role", "statement"), REFUSED)
async def test_a_service_is_refused_what_is_not_its_own(shared: Database, role: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _try(shared.url(role), statement)


@pytest.mark.parametrize(("role", "statement"), ALLOWED)
async def test_a_service_may_do_its_work(shared: Database, role: str, statement: str) -> None:
    await _try(shared.url(role), statement)


async def test_only_accounts_of_the_mesh_may_connect(shared: Database) -> None:
    everyone = "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
    assert await _fetchval(shared.url(), everyone) is False
    assert await _fetchval(shared.url(), "SELECT has_schema_privilege('public', 'public', 'USAGE')") is False
