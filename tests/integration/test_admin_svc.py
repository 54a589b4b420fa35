"""AdminService with real workers behind it: who may do what, what each act does, and the line that it leaves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import redis.asyncio

from board import keys, ledger
from board.dead_letters import file_dead_letters
from board.entry import BoardKey
from board.order import encode_user
from board.update_id import derive_update_id
from scoreboard.v1 import admin_pb2 as pb
from tests.gate import gate_to
from tests.operating import Operating, Operator, operating, update_id
from tests.scoring import own_part, refused
from tests.servers import PostgresServer, RabbitmqServer, RedisServer
from tests.waiting import eventually
from tests.workers import CATALOGUE
from worker.lock import REBUILD_LOCK

WHY = "a reason"


@pytest.fixture(scope="module")
async def part(
    postgres_server: PostgresServer, template_database: str, rabbitmq_server: RabbitmqServer
) -> AsyncIterator[Any]:
    async with own_part(postgres_server, template_database, rabbitmq_server) as made:
        yield made


@pytest.fixture(scope="module")
async def world(
    part: Any, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operating]:
    """One service for all tests of the module; each has players and operators of its own."""
    async with redis.asyncio.Redis.from_url(redis_server.url()) as flusher:
        await flusher.flushall()
        async with operating(part[0], redis_server, part[1], tmp_path_factory.mktemp("admin")) as made:
            yield made
        await flusher.flushall()


def uuid7(age: timedelta = timedelta()) -> str:
    ms = int((datetime.now(UTC) - age).timestamp() * 1000)
    return str(derive_update_id(ms, reporter="", user_id="", nonce=uuid4().hex))


# Rows: who asks. Columns: M what moderators may, O operators, A admins.
MAY = {
    "nobody": {"M": "TOKEN_MISSING", "O": "TOKEN_MISSING", "A": "TOKEN_MISSING"},
    "player": {"M": "SCOPE_MISSING", "O": "SCOPE_MISSING", "A": "SCOPE_MISSING"},
    "game_server": {"M": "SCOPE_MISSING", "O": "SCOPE_MISSING", "A": "SCOPE_MISSING"},
    "moderator": {"M": "", "O": "SCOPE_MISSING", "A": "SCOPE_MISSING"},
    "operator": {"M": "", "O": "", "A": "SCOPE_MISSING"},
    "admin": {"M": "", "O": "", "A": ""},
}
# Each RPC with the least role, and what it answers to an empty request of someone who may ask.
RPCS = {
    "ApplyConfig": ("A", "INVALID_ARGUMENT"),
    "GetUser": ("M", "INVALID_ARGUMENT"),
    "SetUserState": ("M", "INVALID_ARGUMENT"),
    "RenameUser": ("M", "INVALID_ARGUMENT"),
    "DeleteUser": ("A", "INVALID_ARGUMENT"),
    "ReverseUpdate": ("M", "INVALID_ARGUMENT"),
    "AdjustScore": ("A", "INVALID_ARGUMENT"),
    "QueryLedger": ("M", "INVALID_ARGUMENT"),
    "ListDeadLetters": ("O", "INVALID_ARGUMENT"),
    "ReplayDeadLetters": ("O", "INVALID_ARGUMENT"),
    "RebuildBoard": ("O", "UNKNOWN_BOARD"),
    "SetPaused": ("O", "INVALID_ARGUMENT"),
}
WRONG: dict[str, dict[str, Any]] = {
    "QueryLedger": {"limit": 0},
    "ListDeadLetters": {"limit": 0},
    "RebuildBoard": {"board": "no-such"},
}
STREAMS = ("QueryLedger", "RebuildBoard")


@pytest.mark.parametrize("who", MAY)
async def test_each_role_may_call_what_the_contract_says_and_no_more(world: Operating, who: str) -> None:
    assert set(RPCS) == {method.name for method in pb.DESCRIPTOR.services_by_name["AdminService"].methods}
    asker: Operator | None = None
    if who == "game_server":
        asker = await world.client(who)
    elif who != "nobody":
        asker = await world.operator(who)
    for method, (least, answer) in RPCS.items():
        call = (world.stream if method in STREAMS else world.ask)(asker, method, **WRONG.get(method, {}))
        assert await world.refusal(call) == (MAY[who][least] or answer), method


async def test_who_logged_out_was_banned_or_lost_the_role_operates_nothing(world: Operating) -> None:
    pool, player = world.bench.pool, await world.player()

    async def answer_of(operator: Operator) -> str:
        try:
            await world.ask(operator, "GetUser", user_id=player)
        except Exception as e:
            return getattr(e, "reason", repr(e))
        return "answered"

    out, banned, demoted, raised = [await world.operator(role) for role in ("admin", "admin", "admin", "moderator")]
    client, removed = await world.client("admin"), await world.client("moderator")
    everyone = (out, banned, demoted, raised, client, removed)
    assert [await answer_of(each) for each in everyone] == ["answered"] * 6
    await pool.execute("UPDATE sessions SET revoked_at = now() WHERE sid = $1", UUID(out.sid))
    await pool.execute("UPDATE users SET state = 1 WHERE user_id = $1", banned.name)
    await pool.execute("UPDATE users SET role = 1 WHERE user_id = $1", demoted.name)
    await pool.execute("UPDATE users SET role = 3 WHERE user_id = $1", raised.name)
    await pool.execute("UPDATE clients SET disabled_at = now() WHERE client_id = $1", client.name)
    await pool.execute("DELETE FROM clients WHERE client_id = $1", removed.name)
    assert [await answer_of(each) for each in everyone] == [
        "SESSION_REVOKED",
        "BANNED",
        "TOKEN_EXPIRED",
        "TOKEN_EXPIRED",
        "TOKEN_INVALID",
        "TOKEN_INVALID",
    ]
    # Another's session, and one that never was.
    for sid in (out.sid, str(uuid4()), "no-uuid"):
        token = world.scoring.issuer.token(banned.name, sid=sid, role="admin")
        stranger = Operator(banned.name, sid, (("authorization", f"Bearer {token}"),))
        assert await answer_of(stranger) == "SESSION_REVOKED"


async def test_nobody_acts_on_a_player_of_a_higher_role(world: Operating) -> None:
    moderator, operator = await world.operator("moderator"), await world.operator("operator")
    (job,) = await world.play(operator.name, "win-round")
    ban = {"user_id": operator.name, "state": "banned", "reason": WHY}
    assert await world.refusal(world.ask(moderator, "SetUserState", **ban)) == "SCOPE_MISSING"
    rename = {"user_id": operator.name, "username": "Someone", "reason": WHY}
    assert await world.refusal(world.ask(moderator, "RenameUser", **rename)) == "SCOPE_MISSING"
    reverse = {"update_id": update_id(job), "reason": WHY}
    assert await world.refusal(world.ask(moderator, "ReverseUpdate", **reverse)) == "SCOPE_MISSING"
    assert await world.log_of(moderator) == []
    equal = await world.operator("operator")
    assert (await world.ask(equal, "SetUserState", **ban)).state == "banned"


async def test_a_ban_and_its_end_are_shown_and_asked_twice_happen_once(world: Operating) -> None:
    moderator, player = await world.operator("moderator"), await world.player()
    await world.play(player, "win-round", "win-round")
    user = await world.ask(moderator, "GetUser", user_id=player)
    assert (user.user_id, user.username, user.state, user.role) == (player, f"Name of {player}", "active", "player")
    assert [(row.rank > 0, row.score) for row in user.entries] == [(True, 100)] * 3
    assert [board.split()[0] for board in user.entry_boards] == ["all", "daily", "weekly"]
    ban = {"user_id": player, "state": "banned", "reason": "  wrote a bot  "}
    user = await world.ask(moderator, "SetUserState", **ban)
    assert (user.state, list(user.entries)) == ("banned", [])
    assert [row.kind for row in user.last] == ["ban", "update", "update"]
    assert (user.last[0].reporter, user.last[0].action_id, user.last[0].outcome) == (moderator.name, "@ban", "applied")
    again = await world.ask(moderator, "SetUserState", **ban)
    assert again == user
    user = await world.ask(moderator, "SetUserState", user_id=player, state="active", reason=WHY)
    assert (user.state, [row.score for row in user.entries]) == ("active", [100] * 3)
    ref = await world.ref(player)
    assert await world.log_of(moderator) == [("ban", ref, "wrote a bot"), ("unban", ref, WHY)]


async def test_a_new_name_is_shown_everywhere_and_must_be_free(world: Operating) -> None:
    moderator, anna, ben = await world.operator("moderator"), await world.player(), await world.player()
    await world.play(anna, "win-round")
    user = await world.ask(moderator, "RenameUser", user_id=anna, username=f" Ännchen {anna} ", reason=WHY)
    assert user.username == f"Ännchen {anna}"
    assert {row.username for row in user.entries} == {f"Ännchen {anna}"}
    taken = world.ask(moderator, "RenameUser", user_id=ben, username=f"ÄNNCHEN {anna}", reason=WHY)
    assert await world.refusal(taken) == "USERNAME_TAKEN"
    bad = world.ask(moderator, "RenameUser", user_id=ben, username="a\nb", reason=WHY)
    assert await world.refusal(bad) == "INVALID_ARGUMENT"
    assert await world.log_of(moderator) == [("rename", await world.ref(anna), WHY)]


async def test_an_erased_player_is_nobody_any_more(world: Operating) -> None:
    admin, player = await world.operator(), await world.player()
    await world.play(player, "win-round")
    ref = await world.ref(player)
    await world.bench.pool.execute(
        "INSERT INTO identities (issuer, subject, user_ref) VALUES ('studio', $1, $2)", player, int(ref)
    )
    user = await world.ask(admin, "DeleteUser", user_id=player, reason=WHY)
    assert (user.user_id, user.state, list(user.entries), user.sessions) == (f"erased_{ref}", "deleted", [], 0)
    assert player not in str(user)
    for method, more in (("GetUser", {}), ("DeleteUser", {"reason": WHY})):
        assert await world.refusal(world.ask(admin, method, user_id=player, **more)) == "UNKNOWN_USER"
    again = world.ask(admin, "DeleteUser", user_id=user.user_id, reason=WHY)
    assert await world.refusal(again) == "UNKNOWN_USER"
    assert await world.log_of(admin) == [("delete", ref, WHY)]


async def test_an_act_on_an_erased_players_id_is_done_to_the_new_player_of_that_id(world: Operating) -> None:
    admin, player = await world.operator(), await world.player()
    await world.bench.pool.execute(
        "INSERT INTO identities (issuer, subject, user_ref) SELECT 'studio', $1, id FROM users WHERE user_id = $1",
        player,
    )
    ban = {"user_id": player, "state": "banned", "reason": WHY}
    adjust = {"user_id": player, "change": 7, "reason": WHY, "request_id": uuid7()}
    assert (await world.ask(admin, "AdjustScore", **adjust)).score_after == 7
    assert (await world.ask(admin, "SetUserState", **ban)).state == "banned"
    await world.ask(admin, "DeleteUser", user_id=player, reason=WHY)
    await world.bench.pool.execute("INSERT INTO users (user_id, username) VALUES ($1, $1)", player)
    await world.ask(admin, "AdjustScore", **adjust)
    user = await world.ask(admin, "SetUserState", **ban)
    assert (user.state, [row.kind for row in user.last]) == ("banned", ["ban", "adjustment"])


async def test_a_reversal_counts_once_whoever_asks_and_answers_the_same(world: Operating) -> None:
    first, second, player = await world.operator("moderator"), await world.operator("admin"), await world.player()
    job, kept = await world.play(player, "win-round", "coin")
    reverse = {"update_id": update_id(job), "reason": WHY}
    row = await world.ask(first, "ReverseUpdate", **reverse)
    assert (row.kind, row.outcome, row.score_change, row.score_after) == ("reversal", "applied", -50, 1)
    assert (row.reverses, row.reporter, row.action_id) == (update_id(job), first.name, "win-round")
    assert await world.ask(second, "ReverseUpdate", **reverse) == row
    at_once = [world.ask(each, "ReverseUpdate", update_id=update_id(kept), reason=WHY) for each in (first, second) * 4]
    rows = await asyncio.gather(*at_once)
    assert all(each == rows[0] for each in rows)
    assert (await world.ask(first, "GetUser", user_id=player)).entries[0].score == 0
    assert len(await world.log_of(first)) + len(await world.log_of(second)) == 2
    await world.bench.verified()
    for wrong in (str(uuid4()), row.update_id):
        assert await world.refusal(world.ask(first, "ReverseUpdate", update_id=wrong, reason=WHY)) == "NOT_FOUND"
    assert await world.refusal(world.ask(first, "ReverseUpdate", update_id="1", reason=WHY)) == "INVALID_ARGUMENT"


async def test_a_refused_update_cannot_be_reversed(world: Operating) -> None:
    moderator, player = await world.operator("moderator"), await world.player()
    _, refused_one = await world.play(player, "daily-bonus", "daily-bonus")
    reverse = world.ask(moderator, "ReverseUpdate", update_id=update_id(refused_one), reason=WHY)
    assert await world.refusal(reverse) == "NOT_FOUND"
    assert await world.log_of(moderator) == []


async def test_an_adjustment_counts_once_for_its_request_id(world: Operating) -> None:
    admin, other, player = await world.operator(), await world.operator(), await world.player()
    request = {"user_id": player, "change": -7, "reason": WHY, "request_id": uuid7()}
    row = await world.ask(admin, "AdjustScore", **request)
    assert (row.kind, row.score_change, row.score_after, row.reporter) == ("adjustment", -7, -7, admin.name)
    rows = await asyncio.gather(*(world.ask(admin, "AdjustScore", **request) for _ in range(4)))
    assert all(each == row for each in rows)
    another_change = world.ask(admin, "AdjustScore", **request | {"change": 8})
    assert await world.refusal(another_change) == "INVALID_ARGUMENT"
    assert (await world.ask(other, "AdjustScore", **request)).score_after == -14  # an id is its operator's
    assert (await world.ask(admin, "AdjustScore", user_id=player, change=20, reason=WHY)).score_after == 6
    ref = await world.ref(player)
    assert await world.log_of(admin) == [("adjustment", ref, WHY)] * 2
    assert await world.log_of(other) == [("adjustment", ref, WHY)]
    await world.bench.verified()


async def test_an_adjustment_that_may_not_be_is_refused(world: Operating) -> None:
    admin, player, banned = await world.operator(), await world.player(), await world.player()
    await world.ask(admin, "SetUserState", user_id=banned, state="banned", reason=WHY)
    fine = {"user_id": player, "change": 1, "reason": WHY}
    for wrong, reason in (
        ({"user_id": "nobody"}, "UNKNOWN_USER"),
        ({"user_id": banned}, "BANNED"),
        ({"change": 0}, "INVALID_ARGUMENT"),
        ({"change": 0.5}, "INVALID_ARGUMENT"),
        ({"change": float("nan")}, "INVALID_ARGUMENT"),
        ({"change": 2.0**54}, "INVALID_ARGUMENT"),
        ({"request_id": str(uuid4())}, "INVALID_ARGUMENT"),
        ({"request_id": uuid7(timedelta(days=2))}, "INVALID_ARGUMENT"),
        ({"reason": " "}, "INVALID_ARGUMENT"),
        ({"reason": "x" * 501}, "INVALID_ARGUMENT"),
        ({"reason": "two\nlines"}, "INVALID_ARGUMENT"),
    ):
        assert await world.refusal(world.ask(admin, "AdjustScore", **fine | wrong)) == reason, wrong
    assert await world.log_of(admin) == [("ban", await world.ref(banned), WHY)]
    await world.ask(admin, "AdjustScore", **fine | {"change": 2.0**53})
    assert await world.refusal(world.ask(admin, "AdjustScore", **fine)) == "INVALID_ARGUMENT"
    await world.ask(admin, "AdjustScore", **fine | {"change": -(2.0**53)})


async def test_a_player_is_told_with_the_last_rows_and_the_sessions_that_go_on(world: Operating) -> None:
    moderator, player = await world.operator("moderator"), await world.player()
    jobs = [await world.play(player, "coin") for _ in range(3)]
    jobs.append(await world.play(player, *["coin"] * 20))
    await world.bench.pool.execute(
        "INSERT INTO sessions (sid, user_ref, master_key_id, expires_at, revoked_at)"
        " SELECT gen_random_uuid(), id, 1, now() + e * interval '1 hour', r FROM users,"
        " (VALUES (1, NULL), (2, NULL), (-1, NULL), (1, now())) AS s (e, r) WHERE user_id = $1",
        player,
    )
    user = await world.ask(moderator, "GetUser", user_id=player)
    assert user.sessions == 2
    assert {row.update_id for row in user.last} == {update_id(job) for job in jobs[-1]}
    assert [row.applied_at for row in user.last] == sorted((row.applied_at for row in user.last), reverse=True)
    assert await world.refusal(world.ask(moderator, "GetUser", user_id="nobody")) == "UNKNOWN_USER"
    assert await world.refusal(world.ask(moderator, "GetUser", user_id="x\0")) == "INVALID_ARGUMENT"


async def _fill_ledger(world: Operating, player: str, action: str, count: int) -> list[tuple[datetime, str]]:
    """Adds ledger rows of the last forty days, several at one instant, and returns their order, the latest first."""
    now = datetime.now(UTC)
    ref = int(await world.ref(player))
    rows = []
    for number in range(count):
        applied_at = now - timedelta(minutes=24 * (number // 3))
        key = derive_update_id(int(applied_at.timestamp() * 1000), reporter="", user_id=player, nonce=str(number))
        rows.append((key, ref, action, applied_at))
    await world.bench.pool.executemany(
        "INSERT INTO score_logs (id, user_ref, action_id, outcome, reason, score_after, accepted_at, applied_at)"
        " VALUES ($1, $2, $3, 1, 'COOLDOWN', 0, $4, $4)",
        rows,
    )
    return sorted(((at, str(key)) for key, _, _, at in rows), reverse=True)


async def test_the_ledger_is_read_backwards_whole_and_by_every_filter(world: Operating) -> None:
    moderator, player = await world.operator("moderator"), await world.player()
    wanted = await _fill_ledger(world, player, "long-ago", 2_500)

    async def read(**fields: Any) -> list[str]:
        return [row.update_id for row in await world.stream(moderator, "QueryLedger", **fields)]

    keys = [key for _, key in wanted]
    everything = {"action_id": "long-ago", "limit": 100_000}
    assert await read(**everything) == keys
    assert await read(user_id=player, limit=100_000) == keys
    assert await read(action_id="long-ago") == keys[:1000]
    assert await read(user_id=player, limit=1) == keys[:1]
    since, until = wanted[2_000][0], wanted[700][0]
    within = [key for at, key in wanted if since <= at < until]
    assert 1_000 < len(within) < 1_400
    span = {"since": since.isoformat(), "until": until.isoformat().replace("+00:00", "Z")}
    assert await read(**everything, **span) == within
    assert await read(user_id=player, limit=100_000, **span) == within
    assert await read(user_id=player, since="9999-12-31T23:59:59Z") == []
    assert await read(user_id=player, until="0001-01-01T00:00:00Z") == []
    assert await read(user_id=player, until="9999-12-31T23:59:59Z") == keys[:1000]
    assert await read(user_id=player, action_id="coin") == []
    for wrong in ({"since": "yesterday"}, {"until": "2026-11-27"}, {"limit": 100_001}, {"limit": 0}):
        assert await world.refusal(world.stream(moderator, "QueryLedger", **wrong)) == "INVALID_ARGUMENT"
    assert await world.refusal(world.stream(moderator, "QueryLedger", user_id="nobody")) == "UNKNOWN_USER"


async def test_an_act_is_told_as_what_it_is(world: Operating) -> None:
    admin, player = await world.operator(), await world.player()
    (job,) = await world.play(player, "win-round")
    began = datetime.now(UTC)
    await world.ask(admin, "AdjustScore", user_id=player, change=5, reason=WHY)
    adjusted, updated = await world.stream(admin, "QueryLedger", user_id=player)
    assert (updated.update_id, updated.kind, updated.reporter) == (update_id(job), "update", "")
    assert (updated.score_change, updated.score_after, updated.HasField("seal_no")) == (50, 50, False)
    assert (adjusted.kind, adjusted.action_id, adjusted.score_after) == ("adjustment", "@adjustment", 55)
    assert abs(datetime.fromisoformat(adjusted.applied_at) - began) < timedelta(minutes=1)
    assert adjusted.applied_at.endswith("Z")


async def _poison(world: Operating) -> None:
    await world.bench.pool.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON score_logs FOR EACH ROW
        WHEN (NEW.action_id = 'poison') EXECUTE FUNCTION refuse()
        """
    )


async def _cure(world: Operating) -> None:
    await world.bench.pool.execute("DROP FUNCTION refuse CASCADE")


async def _clear(world: Operating) -> None:
    await world.bench.pool.execute("DELETE FROM dead_letters")


@pytest.mark.promise(row=21)
async def test_dead_letters_are_listed_shown_and_replayed_once(world: Operating) -> None:
    operator, player = await world.operator("operator"), await world.player()
    await _poison(world)
    good, bad = world.bench.job(player, "win-round"), world.bench.job(player, "poison")
    await world.bench.send(good, bad)
    await world.bench.answers([good, bad], 60)
    await world.bench.until_dead(1)
    listed = await world.ask(operator, "ListDeadLetters")
    assert listed.total == 1
    (letter,) = listed.dead_letters
    assert (letter.update_id, letter.user_id, letter.action_id) == (update_id(bad), player, "poison")
    assert (letter.reason, letter.attempts, letter.kind) == ("FAILED_P0001", 4, "update")
    assert datetime.now(UTC) - datetime.fromisoformat(letter.first_failed_at) < timedelta(minutes=2)
    replay = {"update_ids": [letter.update_id], "reason": WHY}
    # As long as the cause is there it comes back, after all its tries; then it counts, once.
    await world.bench.pool.execute("UPDATE dead_letters SET attempts = 0")
    assert (await world.ask(operator, "ReplayDeadLetters", **replay)).replayed == 1

    async def is_filed_again() -> bool:
        (found,) = (await world.ask(operator, "ListDeadLetters")).dead_letters
        return bool(found.attempts == 4)

    await eventually(is_filed_again, 60, "the end of all tries")
    await _cure(world)
    assert (await world.ask(operator, "ReplayDeadLetters", **replay)).replayed == 1
    await world.ask(operator, "ReplayDeadLetters", **replay)  # it may have counted by now, or not
    await eventually(lambda: _are_gone(world), 60, "the dead letter's end")
    answer = await world.ask(operator, "ReplayDeadLetters", **replay)
    assert (answer.replayed, list(answer.refused)) == (0, [f"{letter.update_id}: not found"])
    rows = await world.stream(operator, "QueryLedger", user_id=player)
    assert sorted((row.action_id, row.score_change) for row in rows) == [("poison", 1), ("win-round", 50)]
    assert await world.log_of(operator) == [("replay", "dead letters", WHY)] * 4
    assert (await world.ask(operator, "ListDeadLetters")).total == 0
    await world.bench.verified()


async def _are_gone(world: Operating) -> bool:
    return not await world.bench.dead()


async def test_what_is_no_job_is_listed_and_not_replayed(world: Operating) -> None:
    operator, player = await world.operator("operator"), await world.player()
    good = world.bench.job(player)
    job_of_another_key, no_job, too_long = uuid4(), uuid4(), uuid4()
    letters = [
        (UUID(bytes=good.update_id), good.SerializeToString(), "FAILED_P0001", 4),
        (job_of_another_key, good.SerializeToString(), "MALFORMED", 0),
        (no_job, b"\xff not an envelope", "UNDECODABLE", 0),
        (too_long, os.urandom(20_000), "UNDECODABLE", 0),
    ]
    await file_dead_letters(world.bench.pool, letters)
    try:
        listed = await world.ask(operator, "ListDeadLetters", limit=1_000)
        shown = {letter.update_id: (letter.kind, letter.user_id) for letter in listed.dead_letters}
        assert listed.total == 4
        assert shown == {
            update_id(good): ("update", player),
            str(job_of_another_key): ("", ""),
            str(no_job): ("", ""),
            str(too_long): ("", ""),
        }
        asked = [str(job_of_another_key), str(no_job), str(too_long), update_id(good), update_id(good)]
        answer = await world.ask(operator, "ReplayDeadLetters", update_ids=asked, reason=WHY)
        assert answer.replayed == 1
        assert sorted(answer.refused) == sorted(f"{key}: its bytes are no job" for key in asked[:3])

        async def is_applied() -> bool:
            return UUID(update_id(good)) in await ledger.find_updates(world.bench.pool, [UUID(update_id(good))])

        await eventually(is_applied, 30, "the job among them")
        for wrong in ({}, {"all": True, "update_ids": asked}, {"update_ids": ["1"]}, {"update_ids": asked * 201}):
            call = world.ask(operator, "ReplayDeadLetters", reason=WHY, **wrong)
            assert await world.refusal(call) == "INVALID_ARGUMENT"
    finally:
        await _clear(world)


async def _ledger_size(world: Operating) -> int:
    return int(await world.bench.pool.fetchval("SELECT count(*) FROM score_logs"))


async def test_all_dead_letters_are_replayed_in_pages(world: Operating) -> None:
    operator, players = await world.operator("operator"), [await world.player() for _ in range(3)]
    jobs = [world.bench.job(players[number % 3], attempt=4) for number in range(250)]
    letters = [(UUID(bytes=job.update_id), job.SerializeToString(), "FAILED_P0001", 4) for job in jobs]
    await file_dead_letters(world.bench.pool, [*letters, (uuid4(), b"\xff", "UNDECODABLE", 0)])
    try:
        answer = await world.ask(operator, "ReplayDeadLetters", all=True, reason=WHY)
        assert (answer.replayed, len(answer.refused)) == (250, 1)

        async def is_one_left() -> bool:
            return len(await world.bench.dead()) == 1

        await eventually(is_one_left, 60, "the end of 250 dead letters")
        scores = await world.bench.scores()
        assert [scores[player] for player in players] == [84 * 50, 83 * 50, 83 * 50]
        assert await world.log_of(operator) == [("replay", "dead letters", WHY)]
        await world.bench.pool.execute("DELETE FROM dead_letters")
        await world.bench.verified()
    finally:
        await _clear(world)


async def test_while_paused_updates_wait_and_afterwards_all_are_applied(world: Operating) -> None:
    operator, player = await world.operator(), await world.scoring.player()
    await world.scoring.update(player)  # the answer of a worker that works
    pause = {"paused": True, "reason": WHY}
    assert (await world.ask(operator, "SetPaused", **pause)).paused
    assert (await world.ask(operator, "SetPaused", **pause)).paused
    try:

        async def is_pending() -> bool:
            response = await world.scoring.update(player)
            return not response.HasField("new_score")

        await eventually(is_pending, 30, "a worker that rests")
        before = await _ledger_size(world)
        ban = {"user_id": player.user_id, "state": "banned", "reason": WHY}
        adjust = {"user_id": player.user_id, "change": 7, "reason": WHY, "request_id": uuid7()}
        codes = set()

        async def is_told(method: str, fields: dict[str, Any]) -> bool:
            error = await refused(world.ask(operator, method, timeout_s=3, **fields))
            codes.add(error.code)
            return "paused" in error.message  # else a busy machine's answer was late for the caller, who asks again

        asks = (("SetUserState", ban), ("SetUserState", ban), ("AdjustScore", adjust))
        await asyncio.gather(*(eventually(partial(is_told, *ask), 30, "a word of the pause") for ask in asks))
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert await _ledger_size(world) == before
        assert (await world.ask(operator, "GetUser", user_id=player.user_id)).state == "active"
    finally:
        answer = await world.ask(operator, "SetPaused", paused=False, reason="enough")
    assert not answer.paused

    async def is_banned() -> bool:
        return bool((await world.ask(operator, "GetUser", user_id=player.user_id)).state == "banned")

    await eventually(is_banned, 30, "the ban that was asked for")

    async def is_idle() -> bool:
        return await world.scoring.queued_messages() == 0

    await eventually(is_idle, 30, "an empty queue")
    lines = [(action, reason) for action, _, reason in await world.log_of(operator)]
    # Which of the two comes first is the workers' choice: a banned player's score is not adjusted.
    assert [line for line in lines if line[0] != "adjustment"] == [("pause", WHY), ("resume", "enough"), ("ban", WHY)]
    await world.bench.verified()


async def _corrupt(world: Operating, board: BoardKey, player: str) -> None:
    """Gives the player a wrong place in Redis."""
    entry: Any = await world.bench.redis.hget(keys.versions(board), encode_user(int(await world.ref(player))))
    _, member = entry.decode().split()
    await world.bench.redis.zadd(keys.places(board), {member: -1_000_000})


async def _rebuilds(world: Operating) -> int:
    """How many rebuilds of any board there were."""
    return int(await world.bench.pool.fetchval("SELECT last_value FROM board_epoch"))


async def test_a_board_is_built_anew_while_somebody_looks_on(world: Operating) -> None:
    operator, player = await world.operator("operator"), await world.player()
    await world.play(player, "win-round")
    board = await _board(world, "daily")
    await _corrupt(world, board, player)
    before = await _rebuilds(world)
    frames = await world.stream(operator, "RebuildBoard", board="daily", reason=WHY)
    entries = await world.bench.pool.fetchval("SELECT count(*) FROM board_entries WHERE board_id = $1", board.board_id)
    assert [frame.finished for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert (frames[-1].done, frames[-1].total) == (entries, entries)
    assert await _rebuilds(world) == before + 1
    await world.bench.verified()
    assert await world.log_of(operator) == [("rebuild", f"board {board.tag}", WHY)]


async def test_a_rebuild_goes_on_without_whoever_asked_and_answers_all_who_did(world: Operating) -> None:
    operator, player = await world.operator("operator"), await world.player()
    await world.play(player, "win-round")
    board = await _board(world, "all")
    await _corrupt(world, board, player)
    async with world.bench.pool.acquire() as conn:
        await conn.execute("SELECT pg_advisory_lock($1)", REBUILD_LOCK)  # as another worker that is at it
        for _ in range(3):
            call = world.admin.RebuildBoard(pb.RebuildBoardRequest(), metadata=operator.bearer, timeout=60)
            first = await call.read()
            assert (first.done, first.finished) == (0, False)
            call.cancel()
        last = asyncio.create_task(world.stream(operator, "RebuildBoard"), name="the one who stays")
        await eventually(lambda: _are_asked(world, 4), 30, "four who asked")
        before = await _rebuilds(world)
        await conn.execute("SELECT pg_advisory_unlock($1)", REBUILD_LOCK)
    frames = await last
    assert frames[-1].finished
    await eventually(lambda: _are_asked(world, 0), 30, "the end of all")
    assert await _rebuilds(world) == before + 1
    await world.bench.verified()


async def _are_asked(world: Operating, count: int) -> bool:
    sql = "SELECT count(*) FROM board_rebuilds WHERE finished_at IS NULL"
    return bool(await world.bench.pool.fetchval(sql) == count)


async def _board(world: Operating, name: str) -> BoardKey:
    row = await world.bench.pool.fetchrow(
        "SELECT board_id, period_start FROM board_periods JOIN boards USING (board_id)"
        " WHERE name = $1 AND state = 0 AND (period_start <= now()) ORDER BY period_start DESC LIMIT 1",
        name,
    )
    assert row is not None
    return BoardKey(*row)


async def test_only_what_is_in_redis_can_be_built_anew(world: Operating) -> None:
    operator = await world.operator("operator")
    for wrong in ({"board": "no-such"}, {"board": "daily", "period": "1999-01-01"}, {"period": "yesterday"}):
        assert await world.refusal(world.stream(operator, "RebuildBoard", **wrong)) == "UNKNOWN_BOARD"
    for never in ({"board": "x" * 51}, {"board": "a\0"}, {"period": "x" * 51}, {"board": "daily", "period": "a\0"}):
        assert await world.refusal(world.stream(operator, "RebuildBoard", **never)) == "INVALID_ARGUMENT"
    assert await world.log_of(operator) == []


async def test_a_catalogue_is_applied_with_its_differences(world: Operating) -> None:
    admin, pool = await world.operator(), world.bench.pool
    revision = await pool.fetchval("SELECT max(revision) FROM catalogue_revisions")
    more = CATALOGUE + "[actions.jump]\npoints = 3\n"
    answer = await world.ask(admin, "ApplyConfig", toml=more, dry_run=True)
    assert (answer.revision, len(answer.changes)) == (revision, 1)
    assert "jump" in answer.changes[0]
    assert await world.log_of(admin) == []
    applied = await world.ask(admin, "ApplyConfig", toml=more, reason="a new move")
    assert (applied.revision, list(applied.changes)) == (revision + 1, list(answer.changes))
    again = await world.ask(admin, "ApplyConfig", toml=more)
    assert (again.revision, list(again.changes)) == (revision + 1, [])
    (row,) = await pool.fetch("SELECT * FROM admin_log WHERE actor = $1", admin.name)
    assert (row["action"], row["target"], row["reason"]) == ("apply", "catalogue", "a new move")
    assert json.loads(row["after"]) == {"revision": revision + 1, "changes": list(applied.changes)}
    for wrong in ("[boards", more.replace('operator = "best"', 'operator = "sum"')):
        assert await world.refusal(world.ask(admin, "ApplyConfig", toml=wrong)) == "INVALID_ARGUMENT"


async def test_what_each_server_that_is_away_takes_away(world: Operating, postgres_server: PostgresServer) -> None:
    operator, player = await world.operator(), await world.player()
    (job,) = await world.play(player, "win-round")
    nowhere = {
        "redis_url": "redis://admin_svc:x@127.0.0.1:1/0",
        "rabbitmq_url": "amqp://admin_svc:x@127.0.0.1:1/x",
    }
    letter = world.bench.job(player)
    await file_dead_letters(
        world.bench.pool, [(UUID(bytes=letter.update_id), letter.SerializeToString(), "FAILED_P0001", 4)]
    )
    try:
        async with world.service(**nowhere) as admin:
            alone = Operating(world.scoring, world.environment, world.folder, admin)
            user = await alone.ask(operator, "GetUser", user_id=player)
            assert [row.score for row in user.entries] == [50, 50, 50]
            for method, fields in (
                ("SetUserState", {"user_id": player, "state": "banned"}),
                ("ReverseUpdate", {"update_id": update_id(job)}),
                ("ReplayDeadLetters", {"update_ids": [update_id(letter)]}),
                ("ReplayDeadLetters", {"all": True}),
            ):
                assert await world.refusal(alone.ask(operator, method, reason=WHY, **fields)) == "BROKER_AWAY"
    finally:
        await _clear(world)
    async with (
        gate_to(postgres_server.port) as gate,
        world.service(postgres_url=gate.url(world.environment["SCOREBOARD_POSTGRES_URL"])) as admin,
    ):
        alone = Operating(world.scoring, world.environment, world.folder, admin)
        await gate.shut()
        error = await refused(alone.ask(operator, "GetUser", user_id=player))
        assert (error.reason, error.retry_after_s) == ("SERVICE_AWAY", 1.0)
        assert await world.refusal(alone.stream(operator, "QueryLedger")) == "SERVICE_AWAY"
        await gate.open()
