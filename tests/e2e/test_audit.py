"""`scoreboard audit` on a whole mesh: its workers seal what players and operators do."""

from __future__ import annotations

import shlex
from pathlib import Path

import asyncpg
import pytest

from scoreboard.cli.operator import open_admin
from scoreboard.client import Client
from scoreboard.local import seal_key, state
from scoreboard.v1 import admin_pb2 as pb
from tests.e2e.commands import cli, told
from tests.e2e.pages import assert_shows, page_blocks
from tests.e2e.players import sign_up
from tests.e2e.protocols import Protocols
from tests.meshes import Mesh
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)


async def test_what_a_player_does_is_sealed_and_operators_see_by_what(running: Mesh, mesh: Protocols) -> None:
    player = await sign_up(mesh)
    async with Client(running.url.removeprefix("http://")) as client:
        await client.login(player.name, "correct horse battery staple")
        await client.score("win-round")

    async def seal_no() -> float:
        async with open_admin(running.data) as (admin, bearer):
            request = pb.QueryLedgerRequest(user_id=player.session.user_id)
            (row,) = [row async for row in admin.QueryLedger(request, metadata=bearer, timeout=10)]
            return float(row.seal_no)

    number = await eventually(seal_no, 60, "a seal over the player's row")
    found = await told(running, "audit", "verify")
    assert (found["ok"], found["differences"]) == (True, [])
    assert found["seals"] >= number
    assert found["published"] >= number
    assert seal_key.seals_file(running.data).read_text().count("\n") >= number
    checks = {check["check"]: check["state"] for check in (await told(running, "doctor"))["checks"]}
    assert checks["audit seals"] == "ok"


async def test_the_audits_page_runs_as_it_stands(
    running: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for commands, shown in page_blocks("audit.md"):
        printed = ""
        for line in commands.splitlines():
            program, *arguments = shlex.split(line)
            assert program == ".venv/bin/scoreboard"
            done = await cli(running, *arguments)
            assert done.code == 0, done.out + done.err
            printed += done.out + done.err
        assert_shows(printed, shown)


async def test_tampering_on_a_running_mesh_ends_in_a_table_and_an_exit_of_1(
    running: Mesh, mesh: Protocols, tmp_path: Path
) -> None:
    async with Client(running.url.removeprefix("http://")) as client:
        await client.guest()
        await client.score("win-round")

    async def is_sealed() -> bool:
        return bool((await told(running, "audit", "verify"))["rows"])

    await eventually(is_sealed, 60, "a sealed row")
    conn = await asyncpg.connect(state.postgres_url(running.data))
    try:
        # By the newest seal: the first may have been made before anyone had scored.
        until = "SELECT to_txid FROM audit_seals ORDER BY seal_no DESC LIMIT 1"
        row_id = await conn.fetchval(f"SELECT id FROM score_logs WHERE txid < ({until}) LIMIT 1")
        assert row_id is not None
        change = "UPDATE score_logs SET revision = revision + $2 WHERE id = $1"
        await conn.execute(change, row_id, 1)
        try:
            done = await cli(running, "audit", "verify")
        finally:
            await conn.execute(change, row_id, -1)
    finally:
        await conn.close()
    assert done.code == 1
    assert_shows(done.out, f"{row_id} … the row was changed\n1 differences")
    assert (await cli(running, "audit", "verify")).code == 0


async def test_what_cannot_be_read_is_said_with_its_cure(running: Mesh, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for arguments in (
        ("verify", "--keys", missing),
        ("verify", "--published", missing),
        ("verify", "--file", missing),
        ("verify", "--file", __file__),
        ("export", f"{missing}/ledger.jsonl"),
    ):
        done = await cli(running, "audit", *arguments)
        assert done.code == 1, arguments
        assert missing in done.err or __file__ in done.err
