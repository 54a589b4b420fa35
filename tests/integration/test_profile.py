"""Guests, changes of a player's own name and password, and erasure: auth_svc with real workers behind it."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis.asyncio

from board import keys, queues
from board.ledger import Kind
from mesh.client_secret import new_secret, secret_hash
from scoreboard.client import to_error
from scoreboard.v1 import auth_pb2 as pb
from tests.accounts import (
    PASSWORD,
    World,
    bearer,
    coming_from,
    guess_until_slowed,
    outlives_its_tokens,
    reason_of,
    running,
    sid_of,
)
from tests.gate import Direction, Gate, gate_to
from tests.scoring import own_part
from tests.servers import Database, PostgresServer, RabbitmqServer, RedisServer, Vhost
from tests.waiting import eventually
from tests.workers import Bench

NEW_PASSWORD = "staple battery horse"


@dataclass(frozen=True)
class Served:
    """One auth_svc and one worker, with what they stand on."""

    world: World
    bench: Bench
    vhost: Vhost
    postgres: Gate  # auth_svc's way there


@pytest.fixture(scope="module")
async def served(
    postgres_server: PostgresServer,
    template_database: str,
    redis_server: RedisServer,
    rabbitmq_server: RabbitmqServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    """One auth_svc and one worker for all tests here that touch only what they made."""
    folder = tmp_path_factory.mktemp("profile")
    async with (
        own_part(postgres_server, template_database, rabbitmq_server) as (database, vhost),
        redis.asyncio.Redis.from_url(redis_server.url()) as client,
    ):
        await client.flushall()
        async with (
            Bench(database, redis_server, vhost, folder).opened() as bench,
            bench.workers(1),
            gate_to(database.server.port) as gate,
            running(
                database,
                redis_server,
                folder,
                rabbitmq_url=vhost.url("auth_svc"),
                postgres_url=gate.url(database.url("auth_svc")),
            ) as world,
        ):
            yield Served(world, bench, vhost, gate)
        await client.flushall()


@pytest.fixture
def world(served: Served) -> World:
    return served.world


@pytest.fixture
def bench(served: Served) -> Bench:
    return served.bench


def fresh(name: str) -> str:
    """A name that no other test has."""
    return f"{name} {secrets.token_hex(4)}"


async def user(world: World, session: pb.Session) -> Any:
    row = await world.pool.fetchrow(
        "SELECT u.*, c.password_hash FROM users u LEFT JOIN credentials c ON c.user_ref = u.id WHERE user_id = $1",
        session.user_id,
    )
    assert row is not None
    return row


async def acts(world: World, session: pb.Session) -> list[int]:
    """The kinds of the player's rows in the ledger."""
    sql = "SELECT kind FROM score_logs l JOIN users u ON u.id = l.user_ref WHERE u.user_id = $1 ORDER BY l.id"
    return [row["kind"] for row in await world.pool.fetch(sql, session.user_id)]


async def metadata_of(call: Any) -> tuple[str, dict[str, str]]:
    """Reason and metadata of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = to_error(caught.value)
    return error.reason, error.metadata


# Guests


async def test_a_guest_plays_under_any_name_and_cannot_log_in(world: World) -> None:
    name = fresh("Ada")
    account = await world.register(name)
    one, two = await world.guest(name), await world.guest(name)
    assert len({account.user_id, one.user_id, two.user_id}) == 3
    assert re.fullmatch(r"u_[0-9a-f]{24}", one.user_id)
    for guest in (one, two):
        row = await user(world, guest)
        assert (row["username"], row["username_key"], row["password_hash"]) == (name, None, None)
    assert (await world.login(name)).user_id == account.user_id
    lonely = await world.guest(fresh("Bob"))
    assert await reason_of(world.login((await user(world, lonely))["username"])) == "BAD_CREDENTIALS"


async def test_a_guests_session_is_like_any_other(world: World) -> None:
    session = await world.guest()
    verifier = await world.verifier()
    identity = await verifier.verify(f"Bearer {session.access_token}")
    await verifier.close()
    assert (identity.subject, identity.role) == (session.user_id, "player")
    assert identity.scopes == {"update:score", "read:leaderboard"}
    assert (await world.refresh(session.refresh_token)).signing_key == session.signing_key


async def test_a_guest_without_a_name_gets_one(world: World) -> None:
    rows = [await user(world, await world.guest()) for _ in range(3)]
    assert all(re.fullmatch(r"Guest [2-9B-Z]{4}", row["username"]) for row in rows)
    assert len({row["username"] for row in rows}) > 1


async def test_a_guests_name_keeps_the_rules_of_names(world: World) -> None:
    for name in (" ", "a" * 101, "a\0b", "a\u202eb"):
        assert await reason_of(world.guest(name)) == "INVALID_ARGUMENT", name


async def test_guests_wait_with_everybody_else_of_an_address_that_guesses(world: World) -> None:
    address = {"x-forwarded-for": "198.51.100.77"}
    form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "wrong"}
    while (await world.http.post("/oauth2/token", data=form, headers=address)).status_code == 401:
        pass
    request, metadata = pb.GuestRequest(), coming_from("198.51.100.77")
    assert await reason_of(world.auth.Guest(request, metadata=metadata)) == "RATE_LIMITED"
    await world.guest()  # from elsewhere


# Names


async def test_a_new_name_is_shown_logs_in_and_frees_the_old_one(world: World, bench: Bench) -> None:
    old, new = fresh("cleo"), fresh("Cleo the Great")
    session = await world.register(old)
    await bench.send(job := bench.job(session.user_id))
    await bench.answers([job])
    profile = await world.change(session, username=f"  {new} ", password=PASSWORD)
    assert (profile.user_id, profile.username) == (session.user_id, new)
    ref = (await user(world, session))["id"]
    assert str(await bench.redis.hget(keys.USERS, f"{ref:012x}")).endswith(f"{new}'")
    assert (await world.login(new.upper())).user_id == session.user_id
    assert (await world.register(old)).user_id != session.user_id


async def test_a_name_that_another_has_is_refused_in_any_case(world: World) -> None:
    taken, mine = fresh("dora"), fresh("emil")
    await world.register(taken)
    session = await world.register(mine)
    assert await reason_of(world.change(session, username=taken.upper(), password=PASSWORD)) == "USERNAME_TAKEN"
    assert (await user(world, session))["username"] == mine
    assert (await world.change(session, username=mine.upper(), password=PASSWORD)).username == mine.upper()


async def test_the_same_name_again_changes_nothing(world: World) -> None:
    session = await world.register(fresh("finn"))
    name = fresh("Finn")
    for _ in range(3):
        assert (await world.change(session, username=name, password=PASSWORD)).username == name
    assert await acts(world, session) == [Kind.RENAME]


async def test_a_guest_with_a_new_name_is_still_a_guest(world: World) -> None:
    name = fresh("Gus")
    await world.register(name)
    session = await world.guest()
    assert (await world.change(session, username=name)).username == name
    row = await user(world, session)
    assert (row["username"], row["username_key"], row["password_hash"]) == (name, None, None)


async def test_what_asks_for_no_change_or_a_bad_one_is_refused_by_field(world: World) -> None:
    session, guest = await world.register(fresh("hans")), await world.guest()
    for asking, fields, field in [
        (session, {"password": PASSWORD}, "username"),
        (session, {"username": "a\0b", "password": PASSWORD}, "username"),
        (session, {"new_password": "short", "password": PASSWORD}, "new_password"),
        (session, {"new_password": "p" * 129, "password": PASSWORD}, "new_password"),
        (session, {"username": "fine", "password": "short"}, "password"),
        (session, {"username": "fine"}, "password"),
        (guest, {}, "username"),
        (guest, {"new_password": NEW_PASSWORD}, "username"),
    ]:
        reason, metadata = await metadata_of(world.change(asking, **fields))
        assert (reason, metadata["field"]) == ("INVALID_ARGUMENT", field), fields
    assert await acts(world, session) == []


# Passwords


async def test_a_new_password_ends_all_other_sessions_and_may_be_asked_for_again(world: World) -> None:
    name = fresh("ida")
    others = [await world.register(name), await world.login(name)]
    own = await world.login(name)
    for _ in range(2):  # the answer may have been lost
        profile = await world.change(own, password=PASSWORD, new_password=NEW_PASSWORD)
        assert (profile.user_id, profile.username) == (own.user_id, name)
    assert await reason_of(world.login(name)) == "BAD_CREDENTIALS"
    assert (await world.login(name, NEW_PASSWORD)).user_id == own.user_id
    for other in others:
        assert await reason_of(world.refresh(other.refresh_token)) == "SESSION_REVOKED"
        assert await reason_of(world.change(other, username="x", password=NEW_PASSWORD)) == "SESSION_REVOKED"
        assert await outlives_its_tokens(world, other)
    assert not await world.is_denied(own)
    assert (await world.refresh(own.refresh_token)).user_id == own.user_id


async def test_the_old_password_is_needed_and_guessing_it_counts_with_the_logins(world: World) -> None:
    name, address = fresh("jo"), "203.0.113.50"
    session = await world.register(name)
    for fields in ({"username": fresh("x")}, {"new_password": NEW_PASSWORD}):
        assert await reason_of(world.change(session, password="not the password", **fields)) == "BAD_CREDENTIALS"
    assert await reason_of(world.change(session, new_password=NEW_PASSWORD)) == "BAD_CREDENTIALS"
    guess = {"username": fresh("x"), "password": "not the password"}
    await guess_until_slowed(lambda: world.change(session, address, **guess))
    assert await reason_of(world.login(name, PASSWORD, address)) == "RATE_LIMITED"
    assert (await user(world, session))["username"] == name
    assert (await world.login(name)).user_id == session.user_id


async def test_a_login_that_races_a_new_password_does_not_outlive_it(world: World, bench: Bench) -> None:
    name = fresh("kim")
    session = await world.register(name)
    ref = (await user(world, session))["id"]
    sessions = "SELECT count(*) FROM sessions WHERE user_ref = $1"
    async with world.pool.acquire() as connection:
        change = connection.transaction()
        await change.start()
        await connection.execute("UPDATE credentials SET changed_at = now() WHERE user_ref = $1", ref)
        login = world.auth.Login(pb.LoginRequest(username=name, password=PASSWORD))  # the password is still right
        await bench.until_waiting(1)
        await change.commit()
    assert await reason_of(login) == "BAD_CREDENTIALS"
    assert await world.pool.fetchval(sessions, ref) == 1


@pytest.mark.parametrize("by", ["password", "logout", "reuse"])
async def test_who_hangs_up_at_the_commit_leaves_no_good_tokens_of_a_session_that_it_ended(
    served: Served, by: str
) -> None:
    world, name = served.world, fresh("kit")
    own, ended = await world.register(name), await world.login(name)
    first = pb.RefreshRequest(refresh_token=ended.refresh_token)
    last = await world.refresh(ended.refresh_token)
    calls: dict[str, Callable[[], Any]] = {
        "password": lambda: world.auth.UpdateProfile(
            pb.UpdateProfileRequest(password=PASSWORD, new_password=NEW_PASSWORD), metadata=bearer(own)
        ),
        "logout": lambda: world.auth.Logout(pb.LogoutRequest(refresh_token=last.refresh_token)),
        "reuse": lambda: world.auth.Refresh(first),
    }
    sql = "SELECT revoked_at FROM sessions WHERE sid = $1"
    async with world.pool.acquire() as connection:
        holding = connection.transaction()
        await holding.start()
        await connection.execute(sql + " FOR UPDATE", sid_of(ended))
        call = calls[by]()
        await served.bench.until_waiting(1)
        served.postgres.delay(0.1, Direction.BACK)
        try:
            await holding.commit()
            await eventually(lambda: world.pool.fetchval(sql, sid_of(ended)), what="the session's end in the table")
            call.cancel()  # the answer to the commit is still on its way
        finally:
            await served.postgres.heal()
    await eventually(lambda: world.is_denied(ended), what="the ended session on the deny-list")


# From guest to account


async def test_a_guest_becomes_an_account_and_keeps_the_points(world: World, bench: Bench) -> None:
    session, name = await world.guest(), fresh("Leo")
    await bench.send(job := bench.job(session.user_id))
    await bench.answers([job])
    for _ in range(2):  # the answer may have been lost
        profile = await world.change(session, username=name, new_password=NEW_PASSWORD)
        assert (profile.user_id, profile.username) == (session.user_id, name)
    again = await world.login(name.lower(), NEW_PASSWORD)
    assert again.user_id == session.user_id
    assert (await user(world, session))["score"] == 50
    assert await acts(world, session) == [Kind.UPDATE, Kind.RENAME]
    # An account now: the session alone changes nothing more.
    assert await reason_of(world.change(session, username=name, new_password="another password")) == "BAD_CREDENTIALS"
    assert await reason_of(world.change(session, username=fresh("x"))) == "INVALID_ARGUMENT"
    assert await reason_of(world.erase(session, "another password")) == "BAD_CREDENTIALS"


async def test_a_guest_cannot_take_the_name_of_an_account(world: World) -> None:
    name = fresh("mia")
    await world.register(name)
    session = await world.guest()
    call = world.change(session, username=name, new_password=NEW_PASSWORD)
    assert await reason_of(call) == "USERNAME_TAKEN"
    assert (await user(world, session))["password_hash"] is None


async def test_two_who_make_one_guest_an_account_at_once_end_with_one_password(world: World, bench: Bench) -> None:
    session, name = await world.guest(), fresh("nia")
    await world.change(session, username=name)
    ref = (await user(world, session))["id"]
    await world.pool.execute("UPDATE users SET username_key = $1 WHERE id = $2", name, ref)
    same, other = NEW_PASSWORD, "another password"
    async with world.pool.acquire() as connection:
        faster = connection.transaction()
        await faster.start()
        row = await user(world, await world.register(fresh("donor")))
        await connection.execute("INSERT INTO credentials VALUES ($1, $2)", ref, row["password_hash"])
        calls = [
            world.auth.UpdateProfile(
                pb.UpdateProfileRequest(username=name, new_password=password), metadata=bearer(session)
            )
            for password in (PASSWORD, other)
        ]
        await bench.until_waiting(2)
        await faster.commit()
    assert (await calls[0]).username == name  # a copy of the faster call
    assert await reason_of(calls[1]) == "BAD_CREDENTIALS"
    assert await reason_of(world.login(name, same)) == "BAD_CREDENTIALS"
    assert (await world.login(name)).user_id == session.user_id


async def test_a_crash_between_name_and_password_is_mended_by_asking_again(
    served: Served,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    world, points = served.world, tmp_path / "points"
    points.mkdir()
    settings = {"rabbitmq_url": served.vhost.url("auth_svc"), "test_points": points}
    name = fresh("Oda")
    wanted = {"username": name, "new_password": NEW_PASSWORD}
    async with running(world.database, redis_server, tmp_path, **settings) as first:
        session = await first.guest()
        (points / "auth_svc.after_rename").write_text("SIGKILL")
        with pytest.raises(grpc.aio.AioRpcError):
            await first.change(session, **wanted)
    row = await user(world, session)
    assert (row["username"], row["password_hash"]) == (name, None)
    # The name is taken, and leads nowhere.
    assert await reason_of(world.login(name, NEW_PASSWORD)) == "BAD_CREDENTIALS"
    assert await reason_of(world.register(name)) == "USERNAME_TAKEN"
    async with running(world.database, redis_server, tmp_path, **settings) as second:
        assert (await second.change(session, **wanted)).username == name
    assert (await world.login(name, NEW_PASSWORD)).user_id == session.user_id
    assert await acts(world, session) == [Kind.RENAME]


# Erasure


async def test_an_erased_account_is_gone_with_all_its_tokens_and_its_name_is_free(world: World) -> None:
    name = fresh("pia")
    sessions = [await world.register(name), await world.login(name)]
    ref = (await user(world, sessions[0]))["id"]
    assert await reason_of(world.erase(sessions[0], "not the password")) == "BAD_CREDENTIALS"
    reason, metadata = await metadata_of(world.erase(sessions[0], ""))
    assert (reason, metadata["field"]) == ("INVALID_ARGUMENT", "password")
    assert (await world.login(name)).user_id == sessions[0].user_id
    for _ in range(2):
        assert (await world.erase(sessions[0])).success
    for session in sessions:
        assert await world.is_denied(session)
        assert await reason_of(world.change(session, username="x", password=PASSWORD)) == "SESSION_REVOKED"
        assert await reason_of(world.refresh(session.refresh_token)) == "TOKEN_INVALID"
    assert await reason_of(world.login(name)) == "BAD_CREDENTIALS"
    for table in ("credentials", "sessions"):
        assert await world.pool.fetchval(f"SELECT count(*) FROM {table} WHERE user_ref = $1", ref) == 0
    assert (await world.register(name)).user_id != sessions[0].user_id
    assert await acts(world, sessions[0]) == [Kind.DELETE]
    log = await world.pool.fetch("SELECT actor, action FROM admin_log WHERE target = $1", str(ref))
    assert [tuple(row) for row in log] == [("player", "delete")]


async def test_a_guest_is_erased_by_the_session_alone(world: World) -> None:
    session = await world.guest()
    assert (await world.erase(session, "")).success
    assert await world.is_denied(session)
    assert (await user(world, session))["username"] == "erased player"


async def test_the_deny_list_of_an_erased_player_comes_back_after_redis_was_emptied(world: World) -> None:
    session = await world.guest()
    await world.erase(session, "")
    await world.redis.flushall()
    await eventually(lambda: world.is_denied(session), what="the erased player on the refilled list")


async def test_a_session_that_a_backup_lacks_does_not_pass_for_an_erasure(world: World) -> None:
    name = fresh("quin")
    session = await world.register(name)
    await world.pool.execute("DELETE FROM sessions WHERE sid = $1", sid_of(session))
    assert await reason_of(world.erase(session)) == "SESSION_REVOKED"
    assert (await world.login(name)).user_id == session.user_id


async def test_a_password_that_races_an_erasure_does_not_outlive_it(world: World, bench: Bench) -> None:
    session, name = await world.guest(), fresh("rob")
    await world.change(session, username=name)
    ref = (await user(world, session))["id"]
    # As a try that broke off leaves it: the password alone is missing.
    await world.pool.execute("UPDATE users SET username_key = $1 WHERE id = $2", name, ref)
    async with world.pool.acquire() as connection:
        erasure = connection.transaction()
        await erasure.start()
        await connection.execute("UPDATE users SET state = 2, username_key = NULL WHERE id = $1", ref)
        request = pb.UpdateProfileRequest(username=name, new_password=NEW_PASSWORD)
        call = world.auth.UpdateProfile(request, metadata=bearer(session))
        await bench.until_waiting(1)
        await connection.execute("DELETE FROM credentials WHERE user_ref = $1", ref)
        await erasure.commit()
    assert await reason_of(call) == "SESSION_REVOKED"
    assert (await user(world, session))["password_hash"] is None


# Who may not


async def test_banned_players_and_ended_sessions_change_nothing(world: World) -> None:
    banned, ended, gone = [await world.register(fresh(name)) for name in ("sam", "tim", "tom")]
    for session, state in ((banned, 1), (gone, 2)):
        await world.pool.execute("UPDATE users SET state = $1 WHERE user_id = $2", state, session.user_id)
    await world.auth.Logout(pb.LogoutRequest(refresh_token=ended.refresh_token))
    for session, reason in ((banned, "BANNED"), (ended, "SESSION_REVOKED"), (gone, "SESSION_REVOKED")):
        assert await reason_of(world.change(session, username=fresh("x"), password=PASSWORD)) == reason
        assert await reason_of(world.erase(session)) == reason
        assert await acts(world, session) == []


async def test_only_a_token_of_a_session_opens_a_profile(world: World) -> None:
    secret = new_secret()
    await world.pool.execute("INSERT INTO clients VALUES ('match-2', $1, 4)", secret_hash(secret))
    form = {"grant_type": "client_credentials"}
    answer = await world.http.post("/oauth2/token", data=form, auth=("match-2", secret))
    client = (("authorization", f"Bearer {answer.json()['access_token']}"),)
    forged = (("authorization", "Bearer " + "x" * 40),)
    for metadata, reason in (((), "TOKEN_MISSING"), (forged, "TOKEN_INVALID"), (client, "SCOPE_MISSING")):
        profile = pb.UpdateProfileRequest(username="x")
        assert await reason_of(world.auth.UpdateProfile(profile, metadata=metadata)) == reason
        assert await reason_of(world.auth.DeleteAccount(pb.DeleteAccountRequest(), metadata=metadata)) == reason


# Servers away


async def test_without_a_broker_passwords_change_and_names_and_erasures_wait(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with running(database, redis_view, tmp_path) as world:
        session = await world.register("ute")
        for call in (world.change(session, username="uwe", password=PASSWORD), world.erase(session)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            error = to_error(caught.value)
            assert (error.reason, error.code, error.retry_after_s) == (
                "BROKER_AWAY",
                grpc.StatusCode.UNAVAILABLE,
                1,
            )
        assert not await world.is_denied(session)
        await world.change(session, password=PASSWORD, new_password=NEW_PASSWORD)
        assert (await world.login("ute", NEW_PASSWORD)).user_id == session.user_id


async def test_without_a_worker_an_erasure_is_taken_ends_the_tokens_and_is_done_later(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path
) -> None:
    async with (
        Bench(database, redis_view, vhost, tmp_path).opened() as bench,
        running(database, redis_view, tmp_path, rabbitmq_url=vhost.url("auth_svc")) as world,
    ):
        waiting, leaving = await world.guest(), await world.guest()
        assert await reason_of(world.erase(waiting, "")) == "DEADLINE_EXCEEDED"
        assert await world.is_denied(waiting)
        call = world.auth.DeleteAccount(pb.DeleteAccountRequest(), metadata=bearer(leaving))

        async def are_queued() -> bool:
            channel = await bench.owner.open_channel()
            try:
                return await channel.count_ready(queues.UPDATES) == 2
            finally:
                channel.close()

        await eventually(are_queued, what="two jobs in the queue")
        call.cancel()  # who hangs up is not left with tokens
        await eventually(lambda: world.is_denied(leaving), what="the end of the tokens of who hung up")
        async with bench.workers(1):
            await bench.until_applied(2)
            for session in (waiting, leaving):
                assert (await world.erase(session, "")).success
        assert await bench.pool.fetchval("SELECT count(*) FROM sessions") == 0


async def test_without_postgres_guests_and_changes_wait(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with gate_to(database.server.port) as gate:
        url = gate.url(database.url("auth_svc"))
        async with running(database, redis_view, tmp_path, postgres_url=url) as world:
            session = await world.guest()
            await gate.shut()
            for call in (world.guest(), world.change(session, username="x"), world.erase(session)):
                assert await reason_of(call) == "SERVICE_AWAY"


async def test_an_erasure_while_redis_takes_no_writes_ends_the_tokens_later(world: World) -> None:
    session = await world.guest()
    await world.redis.config_set("maxmemory", 1)
    try:
        assert (await world.erase(session, "")).success
        assert not await world.is_denied(session)
    finally:
        await world.redis.config_set("maxmemory", 0)
    await eventually(lambda: world.is_denied(session), what="the erased player on the list")
