"""auth_svc as a process, over gRPC and HTTP, on a real Postgres and a real Redis, with the rights of its own roles."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import grpc
import jwt
import pytest

from mesh.client_secret import new_secret, secret_hash
from mesh.keys import b64url_decode
from mesh.refusal import Refused
from scoreboard.client import to_error
from scoreboard.local import database as databases
from scoreboard.v1 import auth_pb2 as pb
from tests.accounts import (
    ISSUER,
    PASSWORD,
    World,
    guess_until_slowed,
    outlives_its_tokens,
    reason_of,
    running,
    sid_of,
    signature,
)
from tests.servers import Database, PostgresServer, RedisServer
from tests.sizes import Record, sized
from tests.waiting import eventually


@pytest.fixture(scope="module")
async def world(
    postgres_server: PostgresServer,
    template_database: str,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    """One service for all tests here that touch only what they made."""
    name = f"t_{secrets.token_hex(6)}"
    await asyncio.to_thread(databases.make_database, postgres_server.url(), name, template_database)
    database, folder = Database(postgres_server, name), tmp_path_factory.mktemp("auth_svc")
    async with running(database, redis_server, folder) as world:
        yield world
        await world.redis.flushall()
    await asyncio.to_thread(databases.drop_database, postgres_server.url(), name)


@pytest.fixture
async def own_world(database: Database, redis_view: RedisServer, tmp_path: Path) -> AsyncIterator[World]:
    """A service of the test's own."""
    async with running(database, redis_view, tmp_path) as world:
        yield world


async def test_a_registered_player_gets_a_token_that_services_accept(world: World) -> None:
    session = await world.register("Ada")
    verifier = await world.verifier()
    identity = await verifier.verify(f"Bearer {session.access_token}")
    await verifier.close()
    assert identity.subject == session.user_id
    assert identity.scopes == {"update:score", "read:leaderboard"}
    assert identity.role == "player"
    assert jwt.get_unverified_header(session.access_token)["typ"] == "at+jwt"
    signing_key = world.master_keys.signing_key(identity.master_key_id, identity.session_id)
    assert b64url_decode(session.signing_key) == signing_key
    assert (session.token_type, session.expires_in) == ("Bearer", 600)


async def test_a_name_is_taken_in_any_case_and_login_takes_any(world: World) -> None:
    session = await world.register("Zoë Straße")
    assert await reason_of(world.register("ZOE\u0308 STRASSE")) == "USERNAME_TAKEN"
    again = await world.auth.Login(pb.LoginRequest(username="zoë  strasse", password=PASSWORD))
    assert again.user_id == session.user_id
    assert again.signing_key != session.signing_key  # another session


async def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(world: World) -> None:
    await world.register("bo")
    answers = []
    for name in ("bo", "nobody"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.auth.Login(pb.LoginRequest(username=name, password="not the password"))
        answers.append((to_error(caught.value).reason, caught.value.details()))
    assert answers[0] == answers[1]
    assert answers[0][0] == "BAD_CREDENTIALS"


BAD_FIELDS = [
    ("", PASSWORD),
    (" \t ", PASSWORD),
    ("a" * 101, PASSWORD),
    ("a\0b", PASSWORD),
    ("a\u202eb", PASSWORD),
    ("\ufdfa" * 100, PASSWORD),
    ("\u200d", PASSWORD),
    ("fine", ""),
    ("fine", "seven77"),
    ("fine", "p" * 129),
]


async def test_hostile_fields_are_refused_by_name(world: World) -> None:
    for username, password in BAD_FIELDS:
        for call in (
            world.auth.Register(pb.RegisterRequest(username=username, password=password)),
            world.auth.Login(pb.LoginRequest(username=username, password=password)),
        ):
            assert await reason_of(call) == "INVALID_ARGUMENT", (username, password)


async def test_hostile_refresh_tokens_are_refused(world: World) -> None:
    for token in ("", "x", "\0", "é" * 43, "A" * 43, "A" * 44, "=" * 43, "a" * 100_000):
        assert await reason_of(world.refresh(token)) == "TOKEN_INVALID", token
        assert await reason_of(world.auth.Logout(pb.LogoutRequest(refresh_token=token))) == "TOKEN_INVALID", token


async def test_passwords_and_tokens_are_stored_hashed_and_never_logged(world: World) -> None:
    session = await world.register("cleo")
    await reason_of(world.auth.Login(pb.LoginRequest(username="cleo", password="another secret")))
    stored = await world.pool.fetchval("SELECT password_hash FROM credentials LIMIT 1")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    tables = ("users", "credentials", "sessions", "refresh_tokens", "jwt_keys")
    rows = [await world.pool.fetch(f"SELECT t::text FROM {table} t") for table in tables]
    seen = str(rows) + world.log.read_text()
    secret_values = (PASSWORD, "another secret", session.refresh_token, session.signing_key, session.access_token)
    for secret in secret_values:
        assert secret not in seen


async def test_a_refresh_keeps_the_session_and_its_signing_key(world: World) -> None:
    first = await world.register("dara")
    second = await world.refresh(first.refresh_token)
    third = await world.refresh(second.refresh_token, signature(first, second.refresh_token))
    assert first.signing_key == second.signing_key == third.signing_key
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert sid_of(first) == sid_of(second) == sid_of(third)


@pytest.mark.promise(row=29)
async def test_simultaneous_signed_refreshes_all_keep_the_session(world: World, record_property: Record) -> None:
    async def keeps(name: str) -> None:
        session = await world.register(name)
        signed = signature(session, session.refresh_token)
        one, two = await asyncio.gather(*(world.refresh(session.refresh_token, signed) for _ in range(2)))
        late = await world.refresh(session.refresh_token, signed)  # for whom both answers were lost
        assert one.refresh_token == two.refresh_token == late.refresh_token != session.refresh_token
        assert sid_of(one) == sid_of(two) == sid_of(late) == sid_of(session)
        again = await world.refresh(one.refresh_token)
        assert again.signing_key == session.signing_key
        assert not await world.is_denied(again)

    pairs = sized(5, 50)
    await asyncio.gather(*(keeps(f"pair {number}") for number in range(pairs)))
    record_property("faults", pairs)


@pytest.mark.promise(row=29)
async def test_unsigned_reuse_ends_the_whole_family(world: World, record_property: Record) -> None:
    first = await world.register("eve")
    second = await world.refresh(first.refresh_token)
    third = await world.refresh(second.refresh_token)
    other = await world.login("eve")
    assert await reason_of(world.refresh(first.refresh_token)) == "SESSION_REVOKED"
    for session in (first, second, third):
        assert await reason_of(world.refresh(session.refresh_token)) == "SESSION_REVOKED"
        signed = signature(session, session.refresh_token)
        assert await reason_of(world.refresh(session.refresh_token, signed)) == "SESSION_REVOKED"
        assert await world.is_denied(session), "its access tokens"
    assert await outlives_its_tokens(world, third)
    why = await world.pool.fetchval("SELECT revoked_why FROM sessions WHERE sid = $1", sid_of(first))
    assert why == "refresh token used twice"
    assert not await world.is_denied(await world.refresh(other.refresh_token)), "another session"
    record_property("faults", 1)


@pytest.mark.promise(row=29)
async def test_a_signed_repeat_counts_only_within_a_minute_and_before_its_successor_was_used(world: World) -> None:
    late = await world.register("fay")
    await world.refresh(late.refresh_token)
    older = "UPDATE refresh_tokens SET used_at = used_at - interval '61 s' WHERE sid = $1"
    await world.pool.execute(older, sid_of(late))
    call = world.refresh(late.refresh_token, signature(late, late.refresh_token))
    assert await reason_of(call) == "SESSION_REVOKED"
    passed = await world.register("gil")
    await world.refresh((await world.refresh(passed.refresh_token)).refresh_token)
    call = world.refresh(passed.refresh_token, signature(passed, passed.refresh_token))
    assert await reason_of(call) == "SESSION_REVOKED"


async def test_a_wrong_signature_spends_nothing(world: World) -> None:
    session = await world.register("hal")
    wrong = ("x-signature", "A" * 43)
    assert await reason_of(world.refresh(session.refresh_token, wrong)) == "SIGNATURE_INVALID"
    await world.refresh(session.refresh_token)


async def test_logout_ends_the_session_and_may_be_repeated(world: World) -> None:
    session = await world.register("ida")
    for _ in range(2):
        assert (await world.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token))).success
    assert await reason_of(world.refresh(session.refresh_token)) == "SESSION_REVOKED"
    sid = sid_of(session)
    assert await world.redis.exists(f"sb:deny:{sid}")


async def test_the_deny_list_comes_back_after_redis_was_emptied(world: World) -> None:
    session = await world.register("jo")
    await world.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token))
    await world.redis.flushall()
    sid = sid_of(session)
    await eventually(lambda: world.redis.exists(f"sb:deny:{sid}"), what="the refilled deny-list")


async def test_banned_and_deleted_players_stay_outside(world: World) -> None:
    session = await world.register("kim")
    login = pb.LoginRequest(username="kim", password=PASSWORD)
    await world.pool.execute("UPDATE users SET state = 1 WHERE user_id = $1", session.user_id)
    assert await reason_of(world.auth.Login(login)) == "BANNED"
    assert await reason_of(world.refresh(session.refresh_token)) == "BANNED"
    await world.pool.execute("UPDATE users SET state = 2 WHERE user_id = $1", session.user_id)
    assert await reason_of(world.auth.Login(login)) == "BAD_CREDENTIALS"
    assert await reason_of(world.refresh(session.refresh_token)) == "SESSION_REVOKED"


async def test_a_session_that_is_over_is_expired(world: World) -> None:
    session = await world.register("lee")
    await world.pool.execute("UPDATE sessions SET expires_at = now() WHERE sid = $1", sid_of(session))
    assert await reason_of(world.refresh(session.refresh_token)) == "TOKEN_EXPIRED"


async def test_guessing_is_slowed_per_account_and_address_and_locks_nobody_out(world: World) -> None:
    await world.register("mia")

    async def guess(address: str, password: str, username: str = "mia") -> None:
        request = pb.LoginRequest(username=username, password=password)
        await world.auth.Login(request, metadata=(("x-forwarded-for", f"203.0.113.9, {address}"),))

    await guess_until_slowed(lambda: guess("198.51.100.7", "not the password"))
    assert await reason_of(guess("198.51.100.7", PASSWORD)) == "RATE_LIMITED"  # from there even the right one waits
    assert await reason_of(guess("198.51.100.7", "wrong one", "nobody")) == "BAD_CREDENTIALS"
    for _ in range(20):  # right ones never use anything up
        await guess("198.51.100.8", PASSWORD)


async def test_keys_and_metadata_are_published(world: World) -> None:
    answer = await world.http.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=30"
    (key,) = answer.json()["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    metadata = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == ISSUER
    assert metadata["token_endpoint"] == f"{ISSUER}/oauth2/token"
    assert metadata["grant_types_supported"] == ["refresh_token", "client_credentials"]


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_after(own_world: World) -> None:
    session = await own_world.register("nia")
    old = jwt.get_unverified_header(session.access_token)["kid"]
    # A month on: the key is old enough for its successor to be made.
    await own_world.pool.execute("UPDATE jwt_keys SET sign_from = sign_from - interval '30 days'")

    async def published() -> set[str]:
        return {key["kid"] for key in (await own_world.http.get("/.well-known/jwks.json")).json()["keys"]}

    async def both() -> bool:
        return len(await published()) == 2

    await eventually(both, what="the next key in the JWKS")
    (new,) = await published() - {old}
    session = await own_world.refresh(session.refresh_token)
    assert jwt.get_unverified_header(session.access_token)["kid"] == old

    verifier = await own_world.verifier()
    await own_world.pool.execute("UPDATE jwt_keys SET sign_from = now() WHERE kid = $1", new)

    async def signed_by_new() -> bool:
        login = await own_world.auth.Login(pb.LoginRequest(username="nia", password=PASSWORD))
        await verifier.verify(f"Bearer {login.access_token}")
        return str(jwt.get_unverified_header(login.access_token)["kid"]) == new

    await eventually(signed_by_new, what="a token of the next key")
    await verifier.verify(f"Bearer {session.access_token}")  # what the old key signed is still good
    await own_world.pool.execute("UPDATE jwt_keys SET retire_at = now() WHERE kid = $1", old)

    async def only_new() -> bool:
        return await published() == {new}

    await eventually(only_new, what="the end of the old key")
    await verifier.close()
    fresh = await own_world.verifier()
    with pytest.raises(Refused, match="TOKEN_INVALID"):
        await fresh.verify(f"Bearer {session.access_token}")
    await fresh.close()


async def test_a_trusted_client_gets_a_token_by_basic_and_by_form(world: World) -> None:
    secret = new_secret()
    await world.pool.execute("INSERT INTO clients VALUES ('match-1', $1, 4)", secret_hash(secret))
    grant = {"grant_type": "client_credentials"}
    verifier = await world.verifier()
    for arguments in (
        {"data": grant, "auth": ("match-1", secret)},
        {"data": {**grant, "client_id": "match-1", "client_secret": secret, "scope": "update:score"}},
    ):
        answer = await world.http.post("/oauth2/token", **arguments)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"access_token", "token_type", "expires_in", "scope"}
        identity = await verifier.verify(f"Bearer {answer.json()['access_token']}")
        assert (identity.subject, identity.role, identity.session_id) == ("match-1", "game_server", "")
        assert identity.scopes == {"update:score"}
    await verifier.close()
    answer = await world.http.post("/oauth2/token", data=grant | {"scope": "admin"}, auth=("match-1", secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    await world.pool.execute("UPDATE clients SET disabled_at = now()")
    answer = await world.http.post("/oauth2/token", data=grant, auth=("match-1", secret))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_an_operators_client_cannot_report_scores(world: World) -> None:
    secret = new_secret()
    await world.pool.execute("INSERT INTO clients VALUES ('operator-1', $1, 3)", secret_hash(secret))
    form = {"grant_type": "client_credentials"}
    answer = await world.http.post("/oauth2/token", data=form, auth=("operator-1", secret))
    assert answer.json()["scope"] == "operate:scoreboard"
    verifier = await world.verifier()
    identity = await verifier.verify(f"Bearer {answer.json()['access_token']}")
    assert (identity.subject, identity.role, list(identity.scopes)) == ("operator-1", "admin", ["operate:scoreboard"])
    await verifier.close()
    asked = await world.http.post("/oauth2/token", data=form | {"scope": "update:score"}, auth=("operator-1", secret))
    assert (asked.status_code, asked.json()["error"]) == (400, "invalid_scope")


async def test_the_token_endpoint_refreshes_like_the_rpc(world: World) -> None:
    session = await world.register("oda")
    form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
    answer = await world.http.post("/oauth2/token", data=form)
    assert answer.status_code == 200
    assert answer.json()["signing_key"] == session.signing_key
    again = await world.http.post("/oauth2/token", data=form, headers=[signature(session, session.refresh_token)])
    assert again.json()["refresh_token"] == answer.json()["refresh_token"]
    reused = await world.http.post("/oauth2/token", data=form)
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")


FORM = "application/x-www-form-urlencoded"


BAD_REQUESTS = [
    (b"grant_type=password&username=a&password=b", FORM, 400, "unsupported_grant_type"),
    (
        b"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=a",
        FORM,
        400,
        "unsupported_grant_type",
    ),
    (b"", FORM, 400, "invalid_request"),
    (b"grant_type=refresh_token", FORM, 400, "invalid_request"),
    (b"grant_type=refresh_token&refresh_token=%00%FF", FORM, 400, "invalid_request"),
    (b"grant_type=refresh_token&refresh_token=%ED%A0%80", FORM, 400, "invalid_request"),
    (b"grant_type=refresh_token&refresh_token=\xff", FORM, 400, "invalid_request"),
    (b"grant_type=refresh_token&refresh_token=nonsense", FORM, 400, "invalid_grant"),
    (b"grant_type=refresh_token&grant_type=password", FORM, 400, "invalid_request"),
    (b"grant_type=client_credentials", FORM, 401, "invalid_client"),
    (b"grant_type=client_credentials&client_id=%00&client_secret=x", FORM, 401, "invalid_client"),
    (b"grant_type=client_credentials&client_id=a&client_secret=b&scope=admin", FORM, 401, "invalid_client"),
    (b"&".join(b"a%d=1" % n for n in range(50)), FORM, 400, "invalid_request"),
    (b'{"grant_type":"refresh_token"}', "application/json", 400, "invalid_request"),
    (b"a=" + b"x" * 20_000, FORM, 413, "invalid_request"),
]


async def test_hostile_token_requests_get_the_errors_of_rfc_6749(world: World) -> None:
    for content, content_type, status, error in BAD_REQUESTS:
        answer = await world.http.post("/oauth2/token", content=content, headers={"content-type": content_type})
        assert (answer.status_code, answer.json()["error"]) == (status, error), content
        assert answer.headers["cache-control"] == "no-store"


async def test_hostile_client_authentication_is_refused(world: World) -> None:
    form = {"grant_type": "client_credentials"}
    for header in ("Basic", "Basic !!", "Basic YQ==", "Bearer YTpi", "Basic gICA", "Basic YTpi"):
        answer = await world.http.post("/oauth2/token", data=form, headers={"authorization": header})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), header


async def test_unknown_paths_and_methods_answer_in_json(world: World) -> None:
    assert (await world.http.get("/oauth2/token")).status_code == 405
    assert (await world.http.get("/nothing")).json()["error"] == "invalid_request"


async def test_postgres_away_is_said_with_a_delay_and_keys_stay_published(own_world: World) -> None:
    session = await own_world.register("quin")
    superuser = await asyncpg.connect(own_world.database.server.url(database=own_world.database.name))
    await superuser.execute(f"ALTER DATABASE {own_world.database.name} CONNECTION LIMIT 0")
    await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'auth_svc'")
    for call in (
        own_world.auth.Login(pb.LoginRequest(username="quin", password=PASSWORD)),
        own_world.auth.Register(pb.RegisterRequest(username="rob", password=PASSWORD)),
        own_world.refresh(session.refresh_token),
        own_world.auth.Logout(pb.LogoutRequest(refresh_token=session.refresh_token)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (to_error(caught.value).reason, to_error(caught.value).retry_after_s) == ("SERVICE_AWAY", 1)
    form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}
    answer = await own_world.http.post("/oauth2/token", data=form)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await own_world.http.get("/.well-known/jwks.json")).json()["keys"]
    await superuser.execute(f"ALTER DATABASE {own_world.database.name} CONNECTION LIMIT -1")
    await superuser.close()
    await own_world.refresh(session.refresh_token)
