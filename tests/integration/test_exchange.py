"""Token exchange (RFC 8693): studios' identity providers, good and hostile, against auth_svc and a worker."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auth_svc.exchange import ACCESS_TOKEN, GRANT_TYPE, SUBJECT_TOKENS
from scoreboard.client import to_error
from scoreboard.v1 import auth_pb2 as pb
from tests.accounts import PASSWORD, World, reason_of, running, signature
from tests.jwks import Published, b64url, hs256, public_jwk, publishing, signed_es256, unsigned, with_claims
from tests.scoring import own_part
from tests.servers import Database, PostgresServer, RabbitmqServer, RedisServer
from tests.studios import AUDIENCE, KID, Studio, exchange_form
from tests.waiting import eventually
from tests.workers import Bench

HEAD = {"alg": "ES256", "typ": "JWT", "kid": KID}
ADDRESSES = itertools.count(1)
SHARED = b"a secret that the whole list can read"
THEIRS = ec.generate_private_key(ec.SECP256R1())  # the attacker's


@dataclass(frozen=True)
class Served:
    """One auth_svc that believes two studios, one worker, and an endpoint that nobody may be made to ask."""

    world: World
    bench: Bench
    one: Studio
    two: Studio
    trap: Published


@pytest.fixture(scope="module")
async def served(
    postgres_server: PostgresServer,
    template_database: str,
    redis_server: RedisServer,
    rabbitmq_server: RabbitmqServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("exchange")
    one = Studio("https://id.one.test", ec.generate_private_key(ec.SECP256R1()))
    two = Studio("https://id.two.test/", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    one.published.keys.append({"kty": "oct", "k": b64url(SHARED), "kid": "shared", "alg": "HS256"})
    trap = Published(public_jwk(THEIRS, KID))
    async with AsyncExitStack() as stack:
        database, vhost = await stack.enter_async_context(own_part(postgres_server, template_database, rabbitmq_server))
        client = await stack.enter_async_context(redis.asyncio.Redis.from_url(redis_server.url()))
        await client.flushall()
        for published in (one.published, two.published, trap):
            await stack.enter_async_context(publishing(published))
        bench = await stack.enter_async_context(Bench(database, redis_server, vhost, folder).opened())
        await stack.enter_async_context(bench.workers(1))
        settings = {
            "rabbitmq_url": vhost.url("auth_svc"),
            "auth_exchange_issuers": json.dumps([one.setting, two.setting]),
        }
        world = await stack.enter_async_context(running(database, redis_server, folder, **settings))
        yield Served(world, bench, one, two, trap)
        await client.flushall()


@pytest.fixture
def world(served: Served) -> World:
    return served.world


@pytest.fixture
def one(served: Served) -> Studio:
    return served.one


async def exchange(world: World, subject_token: str, address: str = "", **more: str) -> httpx.Response:
    """Asks as a browser of its own does, unless an address is given: failed tries count against each address."""
    headers = {"x-forwarded-for": address or f"2001:db8:{next(ADDRESSES):x}::1"}
    return await world.http.post("/oauth2/token", data=exchange_form(subject_token, **more), headers=headers)


async def session_of(world: World, subject_token: str) -> pb.Session:
    answer = await exchange(world, subject_token)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return pb.Session(**{field.name: body[field.name] for field in pb.Session.DESCRIPTOR.fields})


async def words_of(world: World, subject_token: str) -> str:
    """The description of an exchange that must be refused as an invalid grant."""
    answer = await exchange(world, subject_token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["error_description"])


async def users(world: World, user_id: str) -> list[Any]:
    sql = "SELECT u.*, i.issuer FROM users u LEFT JOIN identities i ON i.user_ref = u.id WHERE u.user_id = $1"
    return await world.pool.fetch(sql, user_id)


async def test_the_first_exchange_makes_the_player_and_the_next_finds_him(world: World, one: Studio) -> None:
    answer = await exchange(world, one.token("anna", name=" Anna A. "))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["issued_token_type"], body["token_type"], body["expires_in"]) == (ACCESS_TOKEN, "Bearer", 600)
    assert body.keys() == {
        *(field.name for field in pb.Session.DESCRIPTOR.fields),
        "issued_token_type",
        "scope",
    }
    verifier = await world.verifier()
    identity = await verifier.verify(f"Bearer {body['access_token']}")
    await verifier.close()
    assert (identity.subject, identity.role, " ".join(sorted(identity.scopes))) == (
        "anna",
        "player",
        "read:leaderboard update:score",
    )
    again = await session_of(world, one.token("anna", name="Another Name"))
    assert (again.user_id, again.signing_key != body["signing_key"]) == ("anna", True)
    (row,) = await users(world, "anna")
    assert (row["username"], row["username_key"], row["issuer"]) == ("Anna A.", None, one.issuer)


async def test_the_session_goes_on_like_any_other(world: World, one: Studio) -> None:
    first = await session_of(world, one.token("bert"))
    second = await world.refresh(first.refresh_token, signature(first, first.refresh_token))
    assert (second.user_id, second.signing_key) == ("bert", first.signing_key)
    await world.auth.Logout(pb.LogoutRequest(refresh_token=second.refresh_token))
    assert await reason_of(world.refresh(second.refresh_token)) == "SESSION_REVOKED"


async def test_tokens_of_either_type_algorithm_and_form_of_audience_are_taken(served: Served) -> None:
    world, one, two = served.world, served.one, served.two
    for token in (
        two.token("carl", exp=int(time.time()) - 1),  # clocks differ
        two.token("carl"),
        two.token("carl", aud=["another", AUDIENCE]),
        two.token("carl", head={"typ": None}),
        two.token("carl", head={"typ": "jwt"}),
    ):
        assert (await session_of(world, token)).user_id == "carl"
    answer = await exchange(world, one.token("cora"), subject_token_type=SUBJECT_TOKENS[1], scope="update:score")
    assert answer.json()["user_id"] == "cora"


async def test_a_taken_name_is_shown_all_the_same_and_leads_nowhere(world: World, one: Studio) -> None:
    account = await world.register("Dora D.")
    await session_of(world, one.token("dora", name="Dora D."))
    assert (await world.login("dora d.")).user_id == account.user_id
    assert [row["username"] for row in await users(world, "dora")] == ["Dora D."]


HOSTILE: dict[str, Callable[[Studio, Served], str]] = {
    "alg none": lambda s, _: unsigned({**HEAD, "alg": "none"}, s.claims("eve")),
    "alg nOnE": lambda s, _: unsigned({**HEAD, "alg": "nOnE"}, s.claims("eve")),
    "no signature": lambda s, _: unsigned(HEAD, s.claims("eve")),
    "HS256 with the key as PEM": lambda s, _: hs256(pem(s), HEAD, s.claims("eve")),
    "HS256 with the key as JWK": lambda s, _: hs256(json.dumps(s.published.keys[0]).encode(), HEAD, s.claims("eve")),
    "HS256 with a secret that stands in the list": lambda s, _: hs256(
        SHARED, {**HEAD, "kid": "shared"}, s.claims("eve")
    ),
    "the header says RS256": lambda s, _: signed_es256(s.key, {**HEAD, "alg": "RS256"}, s.claims("eve")),
    "someone else's key": lambda s, _: s.token("eve", key=THEIRS),
    "someone else's key in jwk": lambda s, _: s.token("eve", key=THEIRS, head={"jwk": public_jwk(THEIRS, KID)}),
    "someone else's key behind jku": lambda s, t: s.token("eve", key=THEIRS, head={"jku": t.trap.url}),
    "an unknown kid behind jku": lambda s, t: s.token("eve", key=THEIRS, head={"jku": t.trap.url, "kid": "x"}),
    "someone else's key behind x5u": lambda s, t: s.token("eve", key=THEIRS, head={"x5u": t.trap.url, "x5c": ["AA"]}),
    "a kid that is a URL": lambda s, t: s.token("eve", key=THEIRS, head={"kid": t.trap.url}),
    "a kid that is a path": lambda s, _: s.token("eve", head={"kid": "../../../../dev/null"}),
    "a kid that is SQL": lambda s, _: s.token("eve", head={"kid": "k1' OR '1'='1"}),
    "a kid that is a list": lambda s, _: signed_es256(s.key, {**HEAD, "kid": [KID]}, s.claims("eve")),
    "no kid": lambda s, _: signed_es256(s.key, {"alg": "ES256"}, s.claims("eve")),
    "crit": lambda s, _: signed_es256(s.key, {**HEAD, "crit": ["exp"]}, s.claims("eve")),
    "an access token": lambda s, _: s.token("eve", head={"typ": "at+jwt"}),
    "a logout token": lambda s, _: s.token("eve", head={"typ": "logout+jwt"}),
    "changed after signing": lambda s, _: with_claims(s.token("mallory"), s.claims("eve")),
    "another audience": lambda s, _: s.token("eve", aud="another"),
    "no audience": lambda s, _: s.token("eve", aud=None),
    "our own audience": lambda s, _: s.token("eve", aud="scoreboard"),
    "an issuer nobody named": lambda s, _: s.token("eve", iss="https://evil.test"),
    "another studio's issuer": lambda s, t: s.token("eve", iss=t.two.issuer),
    "the issuer with a slash more": lambda s, _: s.token("eve", iss=s.issuer + "/"),
    "no issuer": lambda s, _: s.token("eve", iss=None),
    "an issuer that is a list": lambda s, _: signed_es256(s.key, HEAD, s.claims("eve", iss=[s.issuer])),
    "no exp": lambda s, _: s.token("eve", exp=None),
    "exp that is no number": lambda s, _: signed_es256(s.key, HEAD, s.claims("eve", exp="soon")),
    "not yet good": lambda s, _: s.token("eve", nbf=int(time.time()) + 3600),
    "issued in the future": lambda s, _: s.token("eve", iat=int(time.time()) + 3600),
    "no subject": lambda s, _: s.token("eve", sub=None),
    "a subject that is a number": lambda s, _: signed_es256(s.key, HEAD, s.claims("eve", sub=7)),
    "claims that are a list": lambda s, _: f"{b64url(json.dumps(HEAD).encode())}.{b64url(b'[]')}.AAAA",
    "two parts": lambda s, _: s.token("eve").rpartition(".")[0],
    "five parts": lambda s, _: s.token("eve") + ".a.b",
    "words": lambda s, _: "hello",
    "no JSON": lambda s, _: "!!!.???.***",
}


def pem(studio: Studio) -> bytes:
    public: bytes = studio.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_token_that_proves_nothing_is_refused_and_makes_nobody(served: Served, what: str) -> None:
    await words_of(served.world, HOSTILE[what](served.one, served))
    assert await users(served.world, "eve") == []
    assert served.trap.asked == 0


async def test_an_expired_token_is_refused_and_says_so(world: World, one: Studio) -> None:
    assert await words_of(world, one.token("eve", exp=int(time.time()) - 60)) == "The subject token has expired."


async def test_our_own_access_token_is_no_subject_token(world: World, one: Studio) -> None:
    session = await session_of(world, one.token("fred"))
    await words_of(world, session.access_token)


async def test_a_subject_that_is_no_user_id_is_refused_with_the_rule(world: World, one: Studio) -> None:
    for subject in ("a b", "auth0|1", "x" * 51, "", "client:match-1", "erased_0"):
        assert "cannot be a user id" in await words_of(world, one.token(subject))
        assert await users(world, subject) == []


async def test_nobody_is_taken_over(served: Served) -> None:
    world, one, two = served.world, served.one, served.two
    account = await world.register("gina")
    assert "cannot be a user id" in await words_of(world, one.token(account.user_id))
    await world.pool.execute("INSERT INTO users (user_id, username) VALUES ('gina-1', 'imported')")
    assert "the id of another player" in await words_of(world, one.token("gina-1"))
    await session_of(world, one.token("hank"))
    assert "the id of another player" in await words_of(world, two.token("hank"))
    assert [row["issuer"] for row in await users(world, "hank")] == [one.issuer]
    assert [row["issuer"] for row in await users(world, "gina-1")] == [None]
    assert (await session_of(world, one.token("hank"))).user_id == "hank"


async def test_many_first_exchanges_at_once_end_in_one_player(world: World, one: Studio) -> None:
    sessions = await asyncio.gather(*(session_of(world, one.token("ines")) for _ in range(12)))
    assert {session.user_id for session in sessions} == {"ines"}
    assert len({session.signing_key for session in sessions}) == 12
    assert len(await users(world, "ines")) == 1


@pytest.mark.parametrize("is_same", [True, False])
async def test_an_exchange_waits_for_whoever_is_making_the_same_id(served: Served, is_same: bool) -> None:
    world, subject = served.world, f"jack-{is_same}"
    async with world.pool.acquire() as connection:
        faster = connection.transaction()
        await faster.start()
        sql = "INSERT INTO users (user_id, username) VALUES ($1, 'Jack') RETURNING id"
        ref = await connection.fetchval(sql, subject)
        issuer = (served.one if is_same else served.two).issuer
        await connection.execute("INSERT INTO identities VALUES ($1, $2, $3)", issuer, subject, ref)
        slower = asyncio.create_task(exchange(world, served.one.token(subject)))
        await served.bench.until_waiting(1)
        await faster.commit()
    answer = await slower
    if is_same:
        assert answer.json()["user_id"] == subject
    else:
        assert "the id of another player" in answer.json()["error_description"]
    assert [row["issuer"] for row in await users(world, subject)] == [issuer]


async def test_banned_and_erased_players_are_refused(world: World, one: Studio) -> None:
    session = await session_of(world, one.token("kurt"))
    for state, words in ((1, "This player was banned."), (2, "This player was erased.")):
        await world.pool.execute("UPDATE users SET state = $1 WHERE user_id = 'kurt'", state)
        assert await words_of(world, one.token("kurt")) == words
    count = "SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_ref WHERE u.user_id = $1"
    assert await world.pool.fetchval(count, session.user_id) == 1


async def test_a_studios_player_has_no_password_and_cannot_set_one(world: World, one: Studio) -> None:
    session = await session_of(world, one.token("lena", name="Lena"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.change(session, username="Lena L.", new_password=PASSWORD)
    error = to_error(caught.value)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "new_password")
    assert (await world.change(session, username="Lena L.")).username == "Lena L."
    assert await reason_of(world.login("Lena L.")) == "BAD_CREDENTIALS"
    (row,) = await users(world, "lena")
    assert (row["username"], row["username_key"]) == ("Lena L.", None)


async def test_an_erased_players_subject_comes_back_as_a_new_player(world: World, one: Studio) -> None:
    session = await session_of(world, one.token("mona", name="Mona"))
    (before,) = await users(world, "mona")
    assert (await world.erase(session, "")).success
    assert await users(world, "mona") == []
    again = await session_of(world, one.token("mona"))
    (after,) = await users(world, "mona")
    assert after["id"] != before["id"]
    # The old token names the same id, and is good for nothing.
    assert await world.is_denied(session)
    assert not await world.is_denied(again)
    for call in (world.change(session, username="x"), world.erase(session, "")):
        assert await reason_of(call) == "SESSION_REVOKED"
    assert [row["id"] for row in await users(world, "mona")] == [after["id"]]


async def test_exchanges_that_fail_count_with_the_logins_of_their_address(world: World, one: Studio) -> None:
    address = "198.51.100.99"
    while (answer := await exchange(world, "hello", address)).status_code == 400:
        pass
    assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await exchange(world, one.token("nora"), address)).status_code == 429
    assert (await exchange(world, one.token("nora"), "198.51.100.98")).status_code == 200


async def test_a_request_that_we_cannot_do_is_refused_by_rfc_8693(world: World, one: Studio) -> None:
    for more, error in (
        ({"subject_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"audience": "another"}, "invalid_target"),
        ({"scope": "admin"}, "invalid_scope"),
    ):
        answer = await exchange(world, one.token("otto"), **more)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert await users(world, "otto") == []


async def test_the_metadata_lists_the_grant(world: World) -> None:
    metadata = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["grant_types_supported"] == ["refresh_token", "client_credentials", GRANT_TYPE]


async def test_keys_that_are_away_are_waited_for_and_new_ones_found(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    own = Studio("https://id.own.test", ec.generate_private_key(ec.SECP256R1()))
    own.published.is_away = True
    async with publishing(own.published):
        setting = json.dumps([own.setting])
        async with running(database, redis_view, tmp_path, auth_exchange_issuers=setting) as world:
            answer = await exchange(world, own.token("paul"))
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert answer.headers["retry-after"] == "1"
            await world.register("peter")  # others are not held up
            own.published.is_away = False

            async def is_taken(token: str) -> bool:
                return (await exchange(world, token)).status_code == 200

            await eventually(lambda: is_taken(own.token("paul")), what="an exchange after the keys are back")
            own.published.keys.append(public_jwk(THEIRS, "k2"))
            renewed = own.token("paul", key=THEIRS, head={"kid": "k2"})
            await eventually(lambda: is_taken(renewed), what="an exchange by a key that is new")
