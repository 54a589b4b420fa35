"""The operator's commands on a whole mesh: what they say, what they change, and what they refuse."""

from __future__ import annotations

import json
import secrets
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from uuid import UUID, uuid4

import asyncpg
import jwt
import psutil
import pytest
from redis.asyncio import Redis

from board import keys
from board.dead_letters import file_dead_letters
from board.job_pb2 import Job
from board.ledger import Kind
from board.update_id import derive_update_id
from scoreboard.client import Client, ScoreboardError, Status
from scoreboard.local import accounts, rabbitmqctl, state
from scoreboard.local import secrets as local_secrets
from scoreboard.local.postgres import SUPERUSER
from tests.e2e.commands import cli, told
from tests.e2e.pages import assert_shows, read_blocks
from tests.e2e.terminal import Terminal
from tests.meshes import ALL, TREE, Mesh
from tests.waiting import SCALE, eventually
from tests.workers import now_us

pytestmark = pytest.mark.timeout(300 * SCALE)
PASSWORD = "correct horse battery staple"
PAGE = TREE / "docs" / "operating.md"
LATE_S = 6.0 * SCALE  # score_svc says that an update waits after 2 s


@dataclass(frozen=True)
class Player:
    """A player who has played, and the ids of the updates that counted."""

    name: str
    user_id: str
    updates: tuple[str, ...]


async def plays(mesh: Mesh, *actions: str) -> Player:
    """Signs a new player up, who does these things."""
    async with Client(mesh.url.removeprefix("http://")) as client:
        name = f"op-{secrets.token_hex(6)}"
        session = await client.register(name, PASSWORD)
        updates = [(await client.score(action)).update_id for action in actions]
        return Player(name, session.user_id, tuple(updates))


@pytest.fixture
async def database(running: Mesh) -> AsyncIterator[asyncpg.Pool]:
    """The mesh's database, as its owner sees it."""
    async with asyncpg.create_pool(state.postgres_url(running.data), min_size=0, max_size=2) as pool:
        yield pool


@pytest.fixture
async def redis(running: Mesh) -> AsyncIterator[Redis]:
    """The mesh's Redis, as its owner sees it."""
    async with Redis.from_url(state.redis_url(running.data)) as client:
        yield client


@asynccontextmanager
async def frozen(mesh: Mesh, *names: str) -> AsyncIterator[None]:
    """These processes stand still until the end of the block; the mesh is whole again after it."""
    found = [process.find() for process in state.require(mesh.data).running() if process.name in names]
    processes: list[psutil.Process] = [process for process in found if process is not None]
    assert len(processes) == len(names)
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
        await mesh.until_whole()


async def is_drained(mesh: Mesh) -> bool:
    """Whether no queue says that it holds a message; a quorum queue says it anew every 5 s only."""
    listed = await rabbitmqctl.ask(mesh.data, "list_queues", "-p", state.VHOST, "name", "messages")
    return not any(queue["messages"] for queue in listed)


def lost_job(player: Player, action_id: str = "win-round") -> Job:
    """A job of the player's that never came to the workers."""
    at_us = now_us()
    key = derive_update_id(at_us // 1000, reporter="", user_id=player.user_id, nonce=str(uuid4()))
    return Job(
        update_id=key.bytes,
        kind=Kind.UPDATE.word,
        user_id=player.user_id,
        action_id=action_id,
        accepted_at_us=at_us,
    )


async def file(database: asyncpg.Pool, *jobs: Job, reason: str = "FAILED_XX002") -> list[str]:
    """Files jobs as dead letters and returns their ids."""
    letters = [(UUID(bytes=job.update_id), job.SerializeToString(), reason, 4) for job in jobs]
    await file_dead_letters(database, letters)
    return [str(key) for key, *_ in letters]


async def test_the_operators_page_runs_as_it_stands(
    running: Mesh, database: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player, other = await plays(running, "win-round", "daily-bonus", "win-round"), await plays(running)
    names = {"PLAYER": player.name, "UPDATE": player.updates[0]}
    monkeypatch.chdir(tmp_path)  # the page writes a file
    await eventually(lambda: is_drained(running), 60, "queues that say they are empty")
    found = read_blocks(PAGE.read_text())
    for commands, shown in zip(found[::2], found[1::2], strict=True):
        assert (commands.language, shown.language) == ("", "text")
        if "dead-letters" in commands.text:
            await database.execute("DELETE FROM dead_letters")
            await file(database, lost_job(other))
        printed = ""
        for line in commands.text.splitlines():
            program, *arguments = shlex.split(Template(line).substitute(names))
            assert program == ".venv/bin/scoreboard"
            done = await cli(running, *arguments)
            assert done.code == 0, done.out + done.err
            printed += done.out + done.err
        assert_shows(printed, shown.text)

    copied = json.loads((tmp_path / "player.json").read_text())
    assert (tmp_path / "player.json").stat().st_mode & 0o077 == 0
    assert copied["player"]["username"] == f"{player.name} the second"
    assert {row["update_id"] for row in copied["ledger"] if row["kind"] == "update"} == set(player.updates)
    assert [row["kind"] for row in copied["ledger"]].count("reversal") == 1
    assert {(one["board"], one["ledger"]) for one in copied["standings"]} == {
        ("all", 150),
        ("daily", 150),
        ("weekly", 150),
    }
    assert [one["revoked_at"] for one in copied["sessions"]] == [None]
    assert await database.fetchval("SELECT state FROM users WHERE user_id = $1", player.user_id) == 2
    log = await database.fetch(
        "SELECT action, reason FROM admin_log WHERE target = $1 ORDER BY id", str(copied["player"]["user_ref"])
    )
    assert [tuple(row) for row in log] == [
        ("ban", "speed hack"),
        ("unban", "was a false alarm"),
        ("reversal", "the round was void"),
        ("rename", "asked for it"),
        ("delete", "asked for it"),
    ]
    await eventually(lambda: score_of(database, other), 30, "the score of the replayed job")


async def score_of(database: asyncpg.Pool, player: Player) -> int:
    score: int = await database.fetchval("SELECT score FROM users WHERE user_id = $1", player.user_id)
    return score


async def test_doctor_names_what_is_broken_with_its_cure(
    running: Mesh, database: asyncpg.Pool, redis: Redis, tmp_path: Path
) -> None:
    password = local_secrets.load(running.data).postgres[SUPERUSER]
    port = state.require(running.data).ports["postgres"]
    superuser = await asyncpg.connect(accounts.postgres_url(SUPERUSER, password, port, "postgres"))
    secret = running.data / "secrets.json"
    (letter,) = await file(database, lost_job(await plays(running)))
    try:
        secret.chmod(0o644)
        await superuser.execute("ALTER ROLE leaderboard_svc SET synchronous_commit = off")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await database.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999_of_later')"
        )
        await database.execute("INSERT INTO board_entries VALUES (0, '2100-01-01Z', 0, 0, now())")
        async with frozen(running, "worker-1", "worker-2"):
            await database.execute("UPDATE operation SET paused = true")
            await redis.hdel(keys.meta(ALL), "state")
            done = await cli(running, "doctor", "--json")
            await database.execute("UPDATE operation SET paused = false")
    finally:
        secret.chmod(0o600)
        await superuser.execute("ALTER ROLE leaderboard_svc RESET synchronous_commit")
        await superuser.close()
        await redis.config_set("maxmemory-policy", "noeviction")
        await database.execute("DELETE FROM _yoyo_migration WHERE migration_id = '9999_of_later'")
        await database.execute("DELETE FROM board_entries WHERE board_id = 0")
        await database.execute("DELETE FROM dead_letters WHERE update_id::text = $1", letter)
    told_ = json.loads(done.out)
    assert (done.code, told_["ok"]) == (1, False)
    found = {one["check"]: one for one in told_["checks"]}
    assert {name: one["state"] for name, one in found.items() if one["state"] != "ok"} == {
        "worker-1": "failed",
        "worker-2": "failed",
        "Postgres settings": "failed",
        "Redis eviction": "failed",
        "open boards": "failed",
        "secret files": "failed",
        "migrations": "warning",
        "rows without a partition": "warning",
        "dead letters": "warning",
        "pause": "warning",
    }
    assert found["open boards"]["found"] == "not ready in Redis: all all-time"
    assert found["migrations"]["found"] == "not of this version: 9999_of_later"
    assert all(one["cure"] for one in found.values() if one["state"] != "ok")
    names = {process["name"] for process in (await running.status())["processes"]}
    assert names <= set(found)


async def test_doctor_says_so_when_a_server_does_not_answer(running: Mesh) -> None:
    async with frozen(running, "redis"):
        done = await cli(running, "doctor")
    assert done.code == 1
    for line in (
        "redis .* is not ready",
        "Redis .*does not answer",
        "open boards .*cannot be told",
        "Postgres version .* ok",
    ):
        assert_shows(done.out, line.replace(".*", "…"))


async def test_an_admin_is_made_with_a_password_of_its_own(running: Mesh, database: asyncpg.Pool) -> None:
    name = f"op-{secrets.token_hex(6)}"
    made = await told(running, "admin", "create", name, "--generate", "--reason", "the first")
    assert await role_by_login(running, name, made["password"]) == "admin"
    taken = await cli(running, "admin", "create", name, "--generate")
    assert (taken.code, taken.out) == (1, "")
    assert taken.err.startswith(f"There is an account {name} already.\n")
    await told(running, "admin", "create", name, "--existing", "--role", "moderator")
    assert await role_by_login(running, name, made["password"]) == "moderator"
    listed = await told(running, "admin", "list")
    assert {"user_id": made["user_id"], "username": name, "role": "moderator"} in listed["accounts"]
    assert (await cli(running, "admin", "remove", name)).code == 0
    assert await role_by_login(running, name, made["password"]) == "player"
    log = await database.fetch(
        "SELECT l.actor, l.reason, l.before, l.after FROM admin_log l JOIN users u ON l.target = u.id::text"
        " WHERE u.user_id = $1 ORDER BY l.id",
        made["user_id"],
    )
    roles = [(json.loads(row["before"])["role"], json.loads(row["after"])["role"]) for row in log]
    assert (roles, log[0]["reason"]) == ([(0, 3), (3, 1), (1, 0)], "the first")
    # Nobody uses the session that signing up begins.
    ended = await database.fetch(
        "SELECT s.revoked_at IS NOT NULL AS is_ended FROM sessions s JOIN users u ON u.id = s.user_ref"
        " WHERE u.user_id = $1 ORDER BY s.created_at",
        made["user_id"],
    )
    assert [row["is_ended"] for row in ended] == [True, False, False, False]


async def role_by_login(mesh: Mesh, name: str, password: str) -> str:
    async with Client(mesh.url.removeprefix("http://")) as client:
        session = await client.login(name, password)
    role: str = jwt.decode(session.access_token, options={"verify_signature": False})["role"]
    return role


async def test_a_password_is_typed_twice_and_never_shown(running: Mesh) -> None:
    name = f"op-{secrets.token_hex(6)}"
    async with Terminal.running("admin", "create", name, "--role", "operator", "--data", str(running.data)) as terminal:
        for asked, times, typed in (
            ("Password: ", 1, PASSWORD),
            ("The same again: ", 1, "no"),
            ("Password: ", 2, PASSWORD),  # what is typed before the question is thrown away
            ("The same again: ", 2, PASSWORD),
        ):
            await eventually(lambda: terminal.text().count(asked) == times, 30, asked)  # noqa: B023 -- awaited here
            terminal.type(typed)
        assert await terminal.ended() == 0, terminal.text()
        assert "do not match" in terminal.text()
        assert PASSWORD not in terminal.text()
        assert await role_by_login(running, name, PASSWORD) == "operator"


async def test_a_password_comes_from_a_file_or_from_stdin(running: Mesh, tmp_path: Path) -> None:
    name, file_ = f"op-{secrets.token_hex(6)}", tmp_path / "password"
    short = await cli(running, "admin", "create", name, "--password-file", "-", typed="short\n")
    assert (short.code, short.out) == (1, "")
    assert "INVALID_ARGUMENT" in short.err
    nowhere = await cli(running, "admin", "create", name, typed="")
    assert nowhere.err.startswith("There is no terminal to ask for a password.\n")
    absent = await cli(running, "admin", "create", name, "--password-file", str(file_))
    assert absent.err.startswith(f"{file_} cannot be read: ")
    both = await cli(running, "admin", "create", name, "--password-file", str(file_), "--generate")
    assert both.code == 2
    file_.write_text(f"{PASSWORD}\nnot this\n")
    assert (await cli(running, "admin", "create", name, "--password-file", str(file_))).code == 0
    assert await role_by_login(running, name, PASSWORD) == "admin"


async def test_a_banned_player_is_explained_and_comes_back(running: Mesh) -> None:
    player = await plays(running, "win-round")
    assert (await told(running, "user", "ban", player.name, "--reason", "bot"))["state"] == "banned"
    explained = await told(running, "explain", player.user_id)
    assert (explained["agrees"], explained["player"]["state"]) == (True, "banned")
    assert [(one["postgres"]["rank"], one["redis"]["rank"]) for one in explained["standings"]] == [(None, None)] * 3
    assert (await told(running, "user", "show", player.name))["entries"] == []
    with pytest.raises(ScoreboardError, match="BANNED"):
        await role_by_login(running, player.name, PASSWORD)
    back = await told(running, "user", "unban", player.name, "--reason", "no bot")
    assert [
        (entry["score"], board.split()[0]) for entry, board in zip(back["entries"], back["entry_boards"], strict=True)
    ] == [
        (50, "all"),
        (50, "daily"),
        (50, "weekly"),
    ]


async def test_a_reversal_counts_once(running: Mesh) -> None:
    player = await plays(running, "win-round", "collect-coin")
    first = await told(running, "reverse", player.updates[0], "--reason", "void")
    assert (first["score_change"], first["reverses"], first["outcome"]) == (-50, player.updates[0], "applied")
    assert await told(running, "reverse", player.updates[0], "--reason", "void") == first
    explained = await told(running, "explain", player.name, "--rows", "2")
    assert [one["ledger"] for one in explained["standings"]] == [1, 1, 1]
    assert len(explained["ledger"]) == 2
    unknown = await cli(running, "reverse", str(uuid4()), "--reason", "void")
    assert (unknown.code, unknown.out) == (1, "")
    assert len(unknown.err.splitlines()) == 2


async def test_an_erasure_is_asked_for_twice(running: Mesh, database: asyncpg.Pool) -> None:
    player = await plays(running, "win-round")
    kept = await cli(running, "user", "delete", player.name, "--reason", "asked", typed="n\n")
    assert kept.code == 1
    assert f"Erase {player.name} ({player.user_id}) for good?" in kept.err
    assert await database.fetchval("SELECT state FROM users WHERE user_id = $1", player.user_id) == 0
    gone = await cli(running, "user", "delete", player.name, "--reason", "asked", typed="y\n")
    assert (gone.code, gone.out.splitlines()[-1]) == (0, f"{player.user_id} is erased.")
    nobody = await cli(running, "user", "show", player.name)
    assert nobody.err.startswith(f"There is no player with the id or the name {player.name!r}.\n")


async def test_dead_letters_are_shown_explained_and_replayed(running: Mesh, database: asyncpg.Pool) -> None:
    player = await plays(running)
    good, doubtful = await file(database, lost_job(player), lost_job(player, "fly"))
    listed = await told(running, "dead-letters", "list")
    assert {good, doubtful} <= {one["update_id"] for one in listed["dead_letters"]}
    shown = await told(running, "dead-letters", "show", good)
    assert (shown["reason"], shown["replay_helps"], shown["job"]["action_id"]) == (
        *("FAILED_XX002", "once the cause is gone"),
        "win-round",
    )
    text = await cli(running, "dead-letters", "show", good)
    assert_shows(text.out, f"update_id … {good}\njob.user_id … {player.user_id}\njob.accepted_at … 20")
    explained = await told(running, "explain", player.name)
    assert {one["update_id"] for one in explained["dead_letters"]} == {good, doubtful}

    again = await told(running, "dead-letters", "replay", good, doubtful, "--reason", "mended")
    assert (again["replayed"], again["refused"]) == (2, [])

    async def are_gone() -> bool:
        return not await database.fetch("SELECT FROM dead_letters WHERE update_id = ANY($1::uuid[])", [good, doubtful])

    await eventually(are_gone, 30, "the end of both dead letters")
    assert await score_of(database, player) == 50
    refused = await cli(running, "dead-letters", "replay", good, "--reason", "again")
    assert (refused.code, refused.out) == (1, f"0 queued again\n{good}: not found\n")
    absent = await cli(running, "dead-letters", "show", good)
    assert absent.err.startswith(f"There is no dead letter {good}.\n")
    assert (await cli(running, "dead-letters", "replay", "--reason", "which?")).code == 2


async def test_updates_wait_while_the_workers_rest(running: Mesh) -> None:
    async with Client(running.url.removeprefix("http://")) as client:
        await client.register(f"op-{secrets.token_hex(6)}", PASSWORD)
        before = pauses(running)
        assert await told(running, "pause", "--reason", "a test") == {"paused": True}
        try:
            await eventually(lambda: pauses(running) == before + 2, 30, "that both workers rest")
            waiting = await client.score("win-round", deadline_s=LATE_S)
            assert waiting.status is Status.PENDING
        finally:
            assert await told(running, "resume", "--reason", "the end of the test") == {"paused": False}

        async def is_applied() -> bool:
            return (await client.get_update(waiting.update_id)).status is Status.APPLIED

        await eventually(is_applied, 30, "the update")


def pauses(mesh: Mesh) -> int:
    """How often a worker has said that it rests."""
    logs = [(mesh.data / "logs" / f"worker-{number}.log").read_text() for number in (1, 2)]
    return sum('"event":"paused"' in line for log in logs for line in log.splitlines())


async def test_a_board_is_built_anew_while_it_is_read(running: Mesh, database: asyncpg.Pool) -> None:
    player = await plays(running, "win-round")
    before = await database.fetchval("SELECT max(id) FROM board_rebuilds")
    built = await told(running, "rebuild", "daily")
    assert built["entries"] >= 1
    rows = await database.fetch("SELECT done, finished_at FROM board_rebuilds WHERE id > $1", before or 0)
    assert [(row["done"], row["finished_at"] is not None) for row in rows] == [(built["entries"], True)]
    assert (await told(running, "explain", player.name))["agrees"]
    unknown = await cli(running, "rebuild", "nowhere")
    assert (unknown.code, unknown.out) == (1, "")
    assert "nowhere" in unknown.err


async def test_an_operator_elsewhere_uses_an_address_and_a_token(running: Mesh, tmp_path: Path) -> None:
    player, name = await plays(running, "win-round"), f"op-{secrets.token_hex(6)}"
    (tmp_path / "password").write_text(PASSWORD)
    made = ("admin", "create", name, "--role", "moderator", "--password-file", str(tmp_path / "password"))
    await told(running, *made)
    async with Client(running.url.removeprefix("http://")) as client:
        token = (await client.login(name, PASSWORD)).access_token
    there = {"SCOREBOARD_ADMIN_URL": (await running.status())["admin"], "SCOREBOARD_ADMIN_TOKEN": token}
    assert (await told(running, "user", "show", player.user_id, **there))["username"] == player.name
    too_much = await cli(running, "pause", "--reason", "may I", **there)
    assert (too_much.code, too_much.out) == (1, "")
    assert too_much.err.splitlines()[1] == "An admin gives roles: scoreboard admin create."
    local = await cli(running, "explain", player.user_id, **there)
    assert local.err.startswith("SCOREBOARD_ADMIN_URL names a deployment whose database cannot be reached from here.\n")


async def test_a_rebuild_that_nobody_does_is_not_waited_for_without_end(
    running: Mesh, database: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoreboard.cli.rebuild.QUIET_S", 0.3)
    async with frozen(running, "worker-1", "worker-2"):
        done = await cli(running, "rebuild", "all", "--json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("The rebuild was asked for, and its end was not told.\n")

    async def is_done() -> bool:
        return not await database.fetchval("SELECT count(*) FROM board_rebuilds WHERE finished_at IS NULL")

    await eventually(is_done, 60, "the rebuild all the same")


async def test_a_role_is_given_to_nobody_else_and_taken_from_the_banned_too(
    running: Mesh, database: asyncpg.Pool
) -> None:
    name = f"op-{secrets.token_hex(6)}"
    account, guest = f"u_{secrets.token_hex(12)}", f"u_{secrets.token_hex(12)}"
    await database.executemany(
        "INSERT INTO users (user_id, username, username_key) VALUES ($1, $2, $3)",
        [(account, name, name), (name, "A studio's player", None), (guest, f"{name}-guest", None)],
    )

    async def roles() -> list[int]:
        sql = "SELECT role FROM users WHERE user_id = ANY($1) ORDER BY array_position($1, user_id)"
        return [row["role"] for row in await database.fetch(sql, [account, name, guest])]

    doubtful = await cli(running, "admin", "create", name, "--existing")
    assert (doubtful.code, doubtful.out) == (1, "")
    assert doubtful.err.splitlines()[1] == f"Name one by the id: id:{name}, id:{account}."
    assert (await cli(running, "explain", name)).err == doubtful.err
    shown = await cli(running, "admin", "create", f"{name}-guest", "--existing")
    assert (shown.code, await roles()) == (1, [0, 0, 0])
    await told(running, "admin", "create", f"id:{name}", "--existing", "--role", "moderator")
    await told(running, "admin", "create", f"id:{account}", "--existing")
    assert await roles() == [3, 1, 0]
    await database.execute("UPDATE users SET state = 1 WHERE user_id = ANY($1)", [account, name])
    for one in (account, name):
        assert (await cli(running, "admin", "remove", f"id:{one}")).code == 0
    assert await roles() == [0, 0, 0]
    banned = await cli(running, "admin", "create", account, "--existing")
    assert banned.err.startswith(f"{account} is banned.\n")


COMMANDS = {
    "doctor": (),
    "apply": (str(TREE / "scoreboard.toml"),),
    "audit export": ("ledger.jsonl",),
    "backup": ("scoreboard.dump",),
    "clients create": ("game-1",),
    "explain": ("u_1",),
    "admin create": ("ada", "--generate"),
    "admin list": (),
    "admin remove": ("ada",),
    "user show": ("u_1",),
    "user ban": ("u_1", "--reason", "r"),
    "user unban": ("u_1", "--reason", "r"),
    "user rename": ("u_1", "ada", "--reason", "r"),
    "user delete": ("u_1", "--reason", "r"),
    "user export": ("u_1",),
    "reverse": (str(uuid4()), "--reason", "r"),
    "pause": ("--reason", "r"),
    "resume": ("--reason", "r"),
    "rebuild": ("all",),
    "dead-letters list": (),
    "dead-letters show": (str(uuid4()),),
    "dead-letters replay": ("--all", "--reason", "r"),
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_without_a_mesh_there_is_a_sentence_and_a_cure(command: str, tmp_path: Path) -> None:
    done = await cli(None, *command.split(), *COMMANDS[command], "--data", str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        f"No mesh runs under {tmp_path}.",
        "Start it: scoreboard up (with the same --data).",
    ]


@pytest.mark.parametrize("command", [name for name in COMMANDS if "--reason" in COMMANDS[name]])
async def test_what_changes_something_needs_a_reason(command: str, tmp_path: Path) -> None:
    without = [part for part in COMMANDS[command] if part not in ("--reason", "r")]
    done = await cli(None, *command.split(), *without, "--data", str(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert "--reason" in done.err
