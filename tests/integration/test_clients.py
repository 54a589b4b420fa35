"""`scoreboard clients`: a trusted client with its limits, whose secret is shown once and stored hashed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from board.catalogue_store import apply_catalogue
from mesh.client_secret import secret_matches
from scoreboard.cli import app
from scoreboard.local import state
from scoreboard.local.accounts import OPERATOR
from scoreboard.local.files import write_private
from tests import servers
from tests.servers import Database, PostgresServer
from tests.services import TREE


@pytest.fixture
async def folder(
    database: Database, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A data folder that says the test's database, with the catalogue of the tree, is a running mesh's."""
    monkeypatch.setattr(state, "DATABASE", database.name)
    passwords = dict(servers.PASSWORDS)
    known = {"postgres": passwords, "redis": passwords, "rabbitmq": passwords, "erlang_cookie": "x"}
    write_private(tmp_path / "secrets.json", json.dumps(known))
    supervisor = state.Process.of("supervisor", os.getpid(), 0)
    ports = {"postgres": postgres_server.port}
    state.write(tmp_path, state.MeshState(supervisor, "ready", "http://127.0.0.1:1", ports))
    connection = await asyncpg.connect(database.url())
    try:
        await apply_catalogue(connection, (TREE / "scoreboard.toml").read_text())
    finally:
        await connection.close()
    return tmp_path


async def create(folder: Path, *args: str) -> tuple[int, str]:
    command = ["clients", "create", *args, "--data", str(folder)]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    return result.exit_code, f"{result.output}{result.exception or ''}"


async def clients_in(database: Database) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.url())
    try:
        return await connection.fetch("SELECT * FROM clients ORDER BY client_id")
    finally:
        await connection.close()


async def log_in(database: Database) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.url())
    try:
        return await connection.fetch("SELECT * FROM admin_log ORDER BY id")
    finally:
        await connection.close()


async def test_a_client_gets_a_secret_that_only_its_hash_is_kept_of(database: Database, folder: Path) -> None:
    code, text = await create(folder, "game-1", "--actions", "win-round", "--rate", "50", "--json")
    made = json.loads(text)
    assert (code, made["client_id"], made["actions"], made["updates_per_second"]) == (0, "game-1", ["win-round"], 50)
    (row,) = await clients_in(database)
    assert (row["client_id"], row["role"], row["actions"], row["updates_per_second"], row["disabled_at"]) == (
        *("game-1", 4, ["win-round"], 50),
        None,
    )
    assert secret_matches(made["client_secret"], row["secret_hash"])
    assert made["client_secret"] not in str(row)
    (line,) = await log_in(database)
    assert (line["actor"], line["action"], line["target"], line["reason"]) == (
        *(OPERATOR, "client", "client game-1"),
        "made on the command line",
    )
    assert json.loads(line["after"]) == {"actions": ["win-round"], "updates_per_second": 50}


async def test_without_limits_a_client_may_report_every_action(database: Database, folder: Path) -> None:
    code, text = await create(folder, "game-2", "--reason", "a new server")
    secret = next(line.split()[1] for line in text.splitlines() if line.startswith("client_secret"))
    (row,) = await clients_in(database)
    assert (code, row["actions"], row["updates_per_second"]) == (0, None, 1000)
    assert [line["reason"] for line in await log_in(database)] == ["a new server"]
    assert secret_matches(secret, row["secret_hash"])


async def test_what_is_wrong_makes_no_client(database: Database, folder: Path) -> None:
    wrong = {
        ("Game 1",): "NAME",
        ("x" * 51,): "NAME",
        ("game-1", "--actions", "win-round,fly"): "no action fly",
        ("game-1", "--rate", "0"): "--rate",
    }
    for args, said in wrong.items():
        code, text = await create(folder, *args)
        assert code != 0, args
        assert said in text, args
    assert await clients_in(database) == []
    assert await log_in(database) == []


async def test_a_client_is_not_made_here_for_another_deployment(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCOREBOARD_ADMIN_URL", "http://127.0.0.1:1")
    code, text = await create(folder, "game-1")
    assert code != 0
    assert "cannot be reached from here" in text
    assert await clients_in(database) == []


async def test_a_name_is_given_once_and_its_secret_stays(database: Database, folder: Path) -> None:
    assert (await create(folder, "game-1"))[0] == 0
    before = await clients_in(database)
    code, text = await create(folder, "game-1", "--rate", "7")
    assert code != 0
    assert "There is a client game-1 already." in text
    assert await clients_in(database) == before
    assert len(await log_in(database)) == 1
