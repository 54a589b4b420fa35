"""board/verify.py, `scoreboard verify`, `scoreboard apply`: what differs is found, and what is equal passes."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from board import keys, verify, view
from board.ledger import read_names
from board.order import encode_member
from scoreboard.cli import app
from scoreboard.local import secrets, state
from scoreboard.local.files import write_private
from tests import servers
from tests.boards import START, TOML, World, add_players, apply_rows, make_world, random_rows, row
from tests.servers import Database, PostgresServer, RedisServer

DAMAGES = {
    "ledger and entry": "UPDATE board_entries SET score = score + 1, version = version + 1 WHERE board_id = 2",
    "entry and users.score": "UPDATE users SET score = score + 1 WHERE user_id = 'p1'",
    "period and entry": "INSERT INTO board_entries VALUES (77, '2026-11-01Z', 1, 1, now())",
}


@pytest.fixture
async def world(database: Database, redis_view: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Two players on all boards, the view whole."""
    monkeypatch.setattr(verify, "PAUSE_S", 0.01)
    async with make_world(database, redis_view) as made:
        refs = await add_players(made, 2)
        entries = await apply_rows(made, [row(f"p{n + 1}", ref, "a", 5) for n, ref in enumerate(refs)], ["p1", "p2"])
        for board in {entry.board for entry in entries}:
            await view.rebuild(made.worker, made.redis, board)
        yield made


async def _differing(world: World) -> set[str]:
    return {difference.what for difference in (await verify.verify(world.owner, world.redis)).differences}


async def test_a_whole_mesh_has_no_differences(world: World) -> None:
    found = await verify.verify(world.owner, world.redis)
    assert found.differences == ()
    assert (found.applied, found.refused, found.dead_letters, found.periods, found.entries) == (2, 0, 0, 3, 6)


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_was_changed_in_postgres_is_found(world: World, what: str) -> None:
    await world.owner.execute(DAMAGES[what])
    assert what in await _differing(world)


async def test_a_missing_ledger_row_is_found_on_every_board(world: World) -> None:
    await world.owner.execute("DELETE FROM score_logs WHERE user_ref = 1")
    differences = (await verify.verify(world.owner, world.redis)).differences
    assert {(d.board, d.user, d.what) for d in differences} == {
        (board, "1", "ledger and entry") for board in ("all", "daily", "weekly")
    }


async def test_what_was_changed_in_redis_is_found(world: World) -> None:
    places, versions = keys.places(world.all), keys.versions(world.all)
    member = encode_member(START, 1)
    await world.redis.zincrby(places, 1, member)
    assert await _differing(world) == {"entry and place in the view"}
    await world.redis.zincrby(places, -1, member)
    await world.redis.zadd(places, {"0" * 24 + "9": -1})  # a place of nobody
    assert await _differing(world) == {"entry and place in the view"}
    await world.redis.zrem(places, "0" * 24 + "9")
    await world.redis.hdel(versions, "000000000001")
    assert await _differing(world) == {"entry and version in the view"}
    await view.rebuild(world.worker, world.redis, world.all)
    await world.redis.hdel(keys.USERS, "000000000002")
    assert await _differing(world) == {"player and name in the view"}
    await world.redis.delete(keys.meta(world.all))
    assert "entries and view" in await _differing(world)


async def test_updates_in_flight_are_no_differences(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAUSE_S", 0.2)
    refs = sorted(r["id"] for r in await world.owner.fetch("SELECT id FROM users"))
    done = asyncio.Event()

    async def play() -> None:
        number = 0
        names = await read_names(world.worker, refs)
        while not done.is_set():
            number += 1
            entries = await apply_rows(world, [row("p1", refs[0], f"n{number}", 1)], ["p1"])
            await view.write_entries(world.redis, entries, names)
            await asyncio.sleep(0.01)

    playing = asyncio.create_task(play(), name="player")
    try:
        for _ in range(3):
            assert (await verify.verify(world.owner, world.redis)).differences == ()
    finally:
        done.set()
        await playing


@pytest.fixture
def folder(
    database: Database,
    postgres_server: PostgresServer,
    redis_view: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A data folder that says the test's servers are a running mesh."""
    monkeypatch.setattr(state, "DATABASE", database.name)
    passwords = dict(servers.PASSWORDS)
    known = {"postgres": passwords, "redis": passwords, "rabbitmq": passwords, "erlang_cookie": "x"}
    write_private(tmp_path / "secrets.json", json.dumps(known))
    assert secrets.load(tmp_path).postgres == passwords
    supervisor = state.Process.of("supervisor", os.getpid(), 0)
    ports = {"postgres": postgres_server.port, "redis": redis_view.port}
    state.write(tmp_path, state.MeshState(supervisor, "ready", "http://127.0.0.1:1", ports))
    return tmp_path


async def _scoreboard(*args: object) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, [str(arg) for arg in args])
    return result.exit_code, result.stdout if not result.exception else f"{result.stdout}{result.exception}"


async def test_the_command_agrees_or_shows_what_differs(world: World, folder: Path) -> None:
    assert await _scoreboard("verify", "--data", folder) == (
        0,
        "2 updates applied, 0 refused, 0 dead letters; 6 entries in 3 periods of the boards\n"
        "ledger = entries = Redis\n",
    )
    code, text = await _scoreboard("verify", "--json", "--data", folder)
    assert (code, json.loads(text)["ok"], json.loads(text)["differences"]) == (0, True, [])
    await world.owner.execute("UPDATE users SET score = 99 WHERE user_id = 'p2'")
    code, text = await _scoreboard("verify", "--json", "--data", folder)
    assert code == 1
    difference = {"board": "all", "period": "all-time", "user": "2", "what": "entry and users.score"}
    assert json.loads(text.partition("\n")[0])["differences"] == [{**difference, "expected": "5", "found": "99"}]
    code, text = await _scoreboard("verify", "--data", folder)
    assert code == 1
    assert "1 differences" in text


async def test_a_catalogue_is_applied_by_the_command(world: World, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(TOML + "\n[actions.jump]\npoints = 2\n")
    expected = "+ action jump: points 0 → 2\n"
    dry = await _scoreboard("apply", file, "--dry-run", "--data", folder)
    assert dry == (0, expected + "not applied; revision 1 still holds\n")
    assert await _scoreboard("apply", file, "--data", folder) == (0, expected + "revision 2\n")
    assert await _scoreboard("apply", file, "--data", folder) == (0, "nothing changes; revision 2\n")
    file.write_text(TOML)
    assert (await _scoreboard("apply", file, "--reason", "no jumps", "--data", folder))[0] == 0
    log = await world.owner.fetch("SELECT actor, action, target, reason, after FROM admin_log ORDER BY id")
    assert [tuple(line)[:4] for line in log] == [
        ("scoreboard-cli", "apply", "catalogue", why) for why in ("applied on the command line", "no jumps")
    ]
    assert json.loads(log[0]["after"]) == {"revision": 2, "changes": [expected.rstrip()]}


async def test_a_wrong_catalogue_is_refused_with_its_key(world: World, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(TOML.replace("points = 50", "points = 'many'"))
    code, text = await _scoreboard("apply", file, "--data", folder)
    assert code == 1
    assert "actions.win-round.points" in text
    assert "Nothing was changed." in text
    code, text = await _scoreboard("apply", tmp_path / "none.toml", "--data", folder)
    assert code == 1
    assert "cannot be read" in text


async def test_larger_boards_agree(world: World) -> None:
    refs = sorted(r["id"] for r in await world.owner.fetch("SELECT id FROM users"))
    rows = random_rows(random.Random(1), refs, 200)
    entries = await apply_rows(world, rows, ["p1", "p2"])
    for board in {entry.board for entry in entries}:
        await view.rebuild(world.worker, world.redis, board)
    assert (await verify.verify(world.owner, world.redis)).differences == ()
