"""`scoreboard migrate`, which Kubernetes runs before the services; the owner's commands, told where the database is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from mesh.client_secret import secret_matches
from scoreboard.local import accounts
from scoreboard.local import database as databases
from scoreboard.local.state import DATABASE
from tests.e2e.commands import cli
from tests.servers import PASSWORDS, PostgresServer


@pytest.fixture
async def environment(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """What the Job has; the database that it makes is dropped."""
    roles = tmp_path / "roles"
    roles.mkdir()
    for account in accounts.ACCOUNTS:
        (roles / account).write_text(PASSWORDS[account] + "\n")
    (tmp_path / "secret").write_text("the operator's")
    yield {
        "SCOREBOARD_POSTGRES_URL": postgres_server.url(accounts.OWNER, DATABASE),
        "SCOREBOARD_SUPERUSER_URL": postgres_server.url(),
        "SCOREBOARD_PASSWORDS": str(roles),
        "SCOREBOARD_OPERATOR_FILE": str(tmp_path / "secret"),
    }
    await asyncio.to_thread(databases.drop_database, postgres_server.url(), DATABASE)


async def test_an_empty_server_gets_all_and_a_second_run_changes_nothing(
    environment: dict[str, str], postgres_server: PostgresServer
) -> None:
    first = await cli(None, "migrate", **environment)
    assert first.code == 0, first.err
    assert "Catalogue: " in first.out
    again = await cli(None, "migrate", **environment)
    assert (again.code, again.out) == (0, "The database has the newest schema.\n")
    for account in accounts.SERVICES:
        connection = await asyncpg.connect(postgres_server.url(account, DATABASE))
        await connection.close()
    owner = await asyncpg.connect(environment["SCOREBOARD_POSTGRES_URL"])
    stored = await owner.fetchval("SELECT secret_hash FROM clients WHERE client_id = $1", accounts.OPERATOR)
    await owner.close()
    assert secret_matches("the operator's", stored)


async def test_the_owners_commands_find_the_database_by_the_environment(environment: dict[str, str]) -> None:
    await cli(None, "migrate", **environment)
    there = {"SCOREBOARD_POSTGRES_URL": environment["SCOREBOARD_POSTGRES_URL"]}
    for more in ({}, {"SCOREBOARD_ADMIN_URL": "http://admin-svc:8105"}):
        done = await cli(None, "apply", "--dry-run", **there, **more)
        assert (done.code, done.out) == (0, "nothing changes; revision 1\n"), done.err


async def test_what_is_missing_or_refused_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    only = {name: value for name, value in environment.items() if name != "SCOREBOARD_PASSWORDS"}
    assert (await cli(None, "migrate", **only)).code == 2
    (tmp_path / "roles" / "worker").unlink()
    missing = await cli(None, "migrate", **environment)
    assert missing.code == 1
    assert "roles/worker cannot be read" in missing.err
    url = "postgresql://scoreboard:wrong@127.0.0.1:1/scoreboard"
    away = await cli(None, "migrate", SCOREBOARD_POSTGRES_URL=url)
    assert away.code == 1
    assert "could not be prepared" in away.err
