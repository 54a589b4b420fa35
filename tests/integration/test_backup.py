"""scoreboard/local/backup.py on real servers: a database to a file and back, and what a whole mesh makes of it."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from scoreboard.local import accounts, database, state
from scoreboard.local import secrets as local_secrets
from scoreboard.local.backup import back_up, load, restore
from scoreboard.local.ports import Ports
from scoreboard.local.postgres import postgres
from scoreboard.local.trouble import Trouble
from tests import servers
from tests.auditing import Ledger, ledger_of
from tests.e2e.commands import cli
from tests.servers import Database, PostgresServer
from tests.waiting import eventually


@pytest.fixture
async def ledger(database: Database, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger of this test's own, with sealed rows."""
    async with ledger_of(database, tmp_path) as made:
        await made.add(made.owner, 3, lines=1)
        await eventually(lambda: made.sealer().seal_all(), 30, "a seal")
        yield made


async def test_a_backup_is_one_instant_and_comes_back_with_its_rights(
    ledger: Ledger, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    file, name = tmp_path / "scoreboard.dump", f"t_{secrets.token_hex(6)}"
    size = await asyncio.to_thread(back_up, ledger.database.url(), file)
    assert (file.stat().st_size, stat.S_IMODE(file.stat().st_mode)) == (size, 0o600)
    await ledger.add(ledger.owner, 1)  # after it
    await asyncio.to_thread(database.make_database, postgres_server.url(), name)
    try:
        await asyncio.to_thread(load, postgres_server.url(accounts.OWNER, name), file)
        async with ledger_of(Database(postgres_server, name), tmp_path) as again:
            assert await again.owner.fetchval("SELECT count(*) FROM score_logs") == 3
            assert (await again.whole()).rows == 4
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await again.worker.execute("DELETE FROM score_logs")
            await again.worker.fetch("SELECT ensure_partitions(now())")
    finally:
        await asyncio.to_thread(database.drop_database, postgres_server.url(), name)


async def test_a_restore_keeps_what_there_was_and_lets_the_chain_go_on(ledger: Ledger, tmp_path: Path) -> None:
    # A cluster that has seen more than 2^32 transactions: a new one is far behind.
    await ledger.add(ledger.owner, 1)
    far = f"UPDATE score_logs SET txid = '{5 << 32}' WHERE id = $1"
    await ledger.owner.execute(far, ledger.ids[-1])
    file, data = tmp_path / "scoreboard.dump", tmp_path / "data"
    await asyncio.to_thread(back_up, ledger.database.url(), file)
    (data / "logs").mkdir(parents=True)
    for folder in (tmp_path, data):
        folder.chmod(0o711)
    (data / "postgres").mkdir()
    (data / "postgres" / "PG_VERSION").write_text("18")
    (data / "audit").mkdir()
    (data / "audit" / "seals.jsonl").write_text("{}\n")
    made = await restore(data, file, lambda _: None)
    assert made.before is not None
    assert (made.before / "PG_VERSION").read_text() == "18"
    assert made.seals is not None
    assert not (data / "audit" / "seals.jsonl").exists()
    assert not (data / "restoring").exists()

    kept, ports = local_secrets.load(data).postgres, Ports()
    port = ports.take("postgres")
    running = await servers.run(postgres(data, port, kept["postgres"]), ports, data / "logs")
    try:
        owner, worker = (
            accounts.postgres_url(account, kept[account], port, state.DATABASE)
            for account in (accounts.OWNER, "worker")
        )
        async with asyncpg.create_pool(owner, min_size=0) as pool, asyncpg.create_pool(worker, min_size=0) as work:
            again = Ledger(ledger.database, pool, work, tmp_path / "published.jsonl", ledger.at, list(ledger.ids))
            assert await pool.fetchval("SELECT pg_current_xact_id()::text::bigint") >= 6 << 32
            await again.add(pool, 2)
            await eventually(lambda: again.sealer().seal_all(), 30, "a seal in the new cluster")
            found = await again.whole()
            assert (found.rows, found.unsealed) == (7, 0)
    finally:
        await running.stop()


async def test_what_is_no_backup_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "no.dump"
    (data / "postgres").mkdir(parents=True)
    with pytest.raises(Trouble, match="is not there"):
        await restore(data, file, lambda _: None)
    file.write_text("no dump")
    with pytest.raises(Trouble, match="pg_restore ended"):
        await restore(data, file, lambda _: None)
    assert [path.name for path in data.iterdir()] == ["postgres"]
    with pytest.raises(Trouble, match="cannot be written"):
        await asyncio.to_thread(back_up, ledger.database.url(), tmp_path / "missing" / "a.dump")
    wrong = ledger.database.url().replace("scoreboard:", "scoreboard:not-")
    with pytest.raises(Trouble, match="pg_dump ended") as caught:
        await asyncio.to_thread(back_up, wrong, tmp_path / "a.dump")
    assert "not-" not in str(caught.value)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("a.dump")]


async def test_a_database_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    done = await cli(None, "restore", str(tmp_path / "a.dump"), "--data", str(tmp_path))
    assert (done.code, done.err.splitlines()[0]) == (1, "There is a database already.")


async def test_a_folder_whose_restore_was_killed_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.before-20261127T000000Z").mkdir()
    with pytest.raises(Trouble, match="did not come to its end"):
        postgres(tmp_path, 1, "x")
