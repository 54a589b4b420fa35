"""What the gateway refuses, changes and lets through by itself, before services that answer as they are asked to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from auth_svc.service import ANSWER_BUDGET_S
from mesh.reasons import PHRASES, Reason
from scoreboard.local.gateway import RENEWALS_FACTOR
from scoreboard.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    leaderboard_pb2,
    leaderboard_pb2_grpc,
    score_pb2,
    score_pb2_grpc,
    stream_pb2,
    stream_pb2_grpc,
)
from tests.e2e import grpc_web
from tests.e2e.conftest import LOGINS_PER_MINUTE, UPDATES_PER_MINUTE, Gateway
from tests.e2e.test_error_table import details_bytes, details_of, grpc_error
from tests.waiting import eventually

UPDATE = "/scoreboard.v1.ScoreService/UpdateScore"
BODY = {"userId": "u", "actionId": "a", "nonce": "n"}
SHIELD = 6 * UPDATES_PER_MINUTE
ORIGIN = {"origin": "https://game.test"}


def check_body(answer: httpx.Response, status: int, reason: str) -> None:
    """Fails unless this is the one error body."""
    body = answer.json()
    assert (answer.status_code, body["reason"], body["success"]) == (status, reason, False), answer.text
    assert sorted(body) == ["error", "message", "reason", "success"]
    assert body["error"] == PHRASES[Reason(reason)]
    assert body["message"].endswith(".")
    assert answer.headers["content-type"] == "application/json"
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def whole_lines(text: str) -> list[str]:
    """Returns the lines of a log without one that is being written."""
    return text.rpartition("\n")[0].splitlines()


async def refused_everywhere(guarded: Gateway, headers: dict[str, str], status: int, reason: str) -> grpc.StatusCode:
    """Fails unless UpdateScore is refused so as JSON, gRPC and gRPC-Web; returns the gRPC code."""
    check_body(await guarded.http.post("/api/scores/update", json=BODY, headers=headers), status, reason)
    stub: Any = score_pb2_grpc.ScoreServiceStub(guarded.channel)
    error = await grpc_error(stub.UpdateScore(score_pb2.UpdateScoreRequest(), metadata=tuple(headers.items())))
    info, _ = details_of(details_bytes(error))
    assert (info.reason, info.domain) == (reason, "scoreboard"), error
    web = await grpc_web.call(guarded.http, UPDATE, score_pb2.UpdateScoreRequest(), headers)
    assert details_of(web.details)[0].reason == reason
    code: grpc.StatusCode = error.code()
    assert web.code == code.value[0]
    return code


async def test_without_a_token(guarded: Gateway) -> None:
    assert await refused_everywhere(guarded, {}, 401, "TOKEN_MISSING") is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.promise(row=28)
async def test_an_expired_token(guarded: Gateway) -> None:
    headers = guarded.bearer(exp=time.time() - 60)
    assert await refused_everywhere(guarded, headers, 401, "TOKEN_EXPIRED") is grpc.StatusCode.UNAUTHENTICATED


def _bad_tokens(guarded: Gateway) -> dict[str, str]:
    signer = guarded.signer
    public = signer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    good = signer.token()
    stranger = ec.generate_private_key(ec.SECP256R1())
    head, payload, signature = good.split(".")

    def hs256() -> str:
        # The classic swap: the public key taken as an HMAC secret. pyjwt refuses to make it, so by hand.
        first = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "test-key", "typ": "at+jwt"}).encode())
        text = first.rstrip(b"=") + b"." + payload.encode()
        mac = hmac.digest(public, text, hashlib.sha256)
        return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()

    none_head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt","kid":"test-key"}').rstrip(b"=").decode()
    return {
        "none": f"{none_head}.{payload}.",
        "none with a signature": f"{none_head}.{payload}.{signature}",
        "HS256": hs256(),
        "RS256": signer.token(key=rsa.generate_private_key(public_exponent=65537, key_size=2048), alg="RS256"),
        "another's key": signer.token(key=stranger),
        "unknown kid": signer.token(key=stranger, head={"kid": "other"}),
        "kid as a path": signer.token(key=stranger, head={"kid": "../../dev/null"}),
        "jku": signer.token(key=stranger, head={"jku": "http://127.0.0.1:1/jwks.json"}),
        "jwk": signer.token(key=stranger, head={"jwk": json.loads(signer.jwks)["keys"][0]}),
        "x5u": signer.token(key=stranger, head={"x5u": "http://127.0.0.1:1/cert.pem"}),
        "issuer": signer.token(iss="https://evil.test"),
        "audience": signer.token(aud="another"),
        "changed payload": f"{head}.{payload[:-2]}AA.{signature}",
        "changed signature": f"{head}.{payload}.{signature[:-4]}AAAA",
        "words": "hello",
        "long": "x" * 9000,
        "wrong typ": signer.token(head={"typ": "JWT"}),  # the service's to refuse
    }


@pytest.mark.promise(row=28)
async def test_tokens_that_nobody_should_take(guarded: Gateway) -> None:
    for name, token in _bad_tokens(guarded).items():
        try:
            headers = {"authorization": f"Bearer {token}"}
            code = await refused_everywhere(guarded, headers, 401, "TOKEN_INVALID")
            assert code is grpc.StatusCode.UNAUTHENTICATED
        except AssertionError as e:
            raise AssertionError(f"the token with bad {name}") from e


def access_lines(gateway: Gateway) -> list[dict[str, Any]]:
    """The log's lines of requests; Envoy's own are of other events."""
    text = gateway.log.read_text()
    lines: list[dict[str, Any]] = [json.loads(line) for line in whole_lines(text) if line.startswith("{")]
    return [line for line in lines if line["event"] == "request"]


@pytest.mark.promise(row=28)
async def test_the_gateway_and_the_service_each_refuse_a_bad_token(guarded: Gateway) -> None:
    bad = _bad_tokens(guarded) | {"expiry": guarded.signer.token(exp=time.time() - 60)}
    names = {f"/api/scores/updates/{uuid.uuid4()}": name for name in bad}  # of each token's own path
    for path, name in names.items():
        answer = await guarded.http.get(path, headers={"authorization": f"Bearer {bad[name]}"})
        check_body(answer, 401, "TOKEN_EXPIRED" if name == "expiry" else "TOKEN_INVALID")

    def refused_at() -> dict[str, str]:
        lines = access_lines(guarded)
        found = {names[line["path"]]: line["details"].partition("{")[0] for line in lines if line["path"] in names}
        assert found.keys() == bad.keys()
        return found

    # Envoy knows nothing of `typ`; all else never reaches the service.
    assert await eventually(refused_at) == dict.fromkeys(bad, "jwt_authn_access_denied") | {"wrong typ": "via_upstream"}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{guarded.services.program.port}") as channel:
        stub: Any = score_pb2_grpc.ScoreServiceStub(channel)
        for name, token in bad.items():
            call = stub.UpdateScore(score_pb2.UpdateScoreRequest(), metadata=(("authorization", f"Bearer {token}"),))
            error = await grpc_error(call)
            reason = "TOKEN_EXPIRED" if name == "expiry" else "TOKEN_INVALID"
            assert (name, details_of(details_bytes(error))[0].reason) == (name, reason)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("scope", ["", "update:scorexx", "read:leaderboard"])
async def test_a_token_without_the_scope(guarded: Gateway, scope: str) -> None:
    code = await refused_everywhere(guarded, guarded.bearer(scope=scope), 403, "SCOPE_MISSING")
    assert code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("scope", ["update:score", "a update:score", "update:score b"])
async def test_the_scope_may_stand_anywhere(guarded: Gateway, scope: str) -> None:
    answer = await guarded.http.post("/api/scores/update", json=BODY, headers=guarded.bearer(scope=scope))
    assert (answer.status_code, answer.json()["newScore"]) == (200, 150)


async def test_the_shield_is_a_players_own(guarded: Gateway) -> None:
    headers = guarded.bearer()
    first = [await guarded.http.post("/api/scores/update", json=BODY, headers=headers) for _ in range(SHIELD)]
    assert {answer.status_code for answer in first} == {200}
    stub: Any = score_pb2_grpc.ScoreServiceStub(guarded.channel)  # its route has a bucket of its own
    for _ in range(SHIELD):
        await stub.UpdateScore(score_pb2.UpdateScoreRequest(), metadata=tuple(headers.items()))
    code = await refused_everywhere(guarded, headers, 429, "RATE_LIMITED")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    other = await guarded.http.post("/api/scores/update", json=BODY, headers=guarded.bearer())
    assert other.status_code == 200


async def test_logins_registrations_and_guests_share_an_addresss_shield(guarded: Gateway) -> None:
    login = {"username": "ada", "password": "12345678"}
    tries = [await guarded.http.post(f"/api/auth/{rpc}", json=login) for rpc in ("login", "register", "guest") * 2]
    passed = [answer.status_code for answer in tries].count(200)
    assert passed == 3 * LOGINS_PER_MINUTE
    for refused in tries[-3:]:
        check_body(refused, 429, "RATE_LIMITED")
    stub: Any = auth_pb2_grpc.AuthServiceStub(guarded.channel)
    error = await grpc_error(stub.Login(auth_pb2.LoginRequest()))
    assert details_of(details_bytes(error))[1] == 60 // LOGINS_PER_MINUTE, "RetryInfo: when the next goes through"
    forged = await guarded.http.post("/api/auth/login", json=login, headers={"x-forwarded-for": "203.0.113.9"})
    check_body(forged, 429, "RATE_LIMITED")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/auth/refresh", {"json": {"refresh_token": "made-up"}}),
        ("/oauth2/token", {"data": {"grant_type": "refresh_token", "refresh_token": "made-up"}}),
    ],
    ids=["refresh", "token endpoint"],
)
async def test_made_up_refresh_tokens_of_an_address_are_bounded(
    guarded: Gateway, path: str, body: dict[str, Any]
) -> None:
    most = RENEWALS_FACTOR * LOGINS_PER_MINUTE
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=guarded.url, transport=elsewhere) as attacker:
        tries = [(await attacker.post(path, **body)).status_code for _ in range(most + 10)]
        assert 429 not in tries[:most]
        assert tries[-1] == 429
        check_body(await attacker.post(path, **body), 429, "RATE_LIMITED")
    assert (await guarded.http.post(path, **body)).status_code != 429, "another address is another bucket"


OWN_ACCOUNT = [("PATCH", "/api/auth/profile"), ("POST", "/api/auth/delete")]


@pytest.mark.parametrize(("method", "path"), OWN_ACCOUNT)
async def test_a_players_own_account_is_shut_to_whoever_has_no_good_token(
    guarded: Gateway, method: str, path: str
) -> None:
    # The service behind lets everyone in here: it is the gateway that refuses.
    for headers, reason in (
        ({}, "TOKEN_MISSING"),
        (guarded.bearer(exp=time.time() - 60), "TOKEN_EXPIRED"),
        (guarded.bearer(aud="another"), "TOKEN_INVALID"),
        (guarded.bearer(key=ec.generate_private_key(ec.SECP256R1())), "TOKEN_INVALID"),
    ):
        check_body(await guarded.http.request(method, path, json={}, headers=headers), 401, reason)
    assert (await guarded.http.request(method, path, json={}, headers=guarded.bearer())).status_code == 200


async def test_the_shield_of_own_accounts_is_a_players_own(guarded: Gateway) -> None:
    headers = guarded.bearer()
    for number in range(SHIELD):
        method, path = OWN_ACCOUNT[number % 2]
        assert (await guarded.http.request(method, path, json={}, headers=headers)).status_code == 200
    check_body(await guarded.http.patch("/api/auth/profile", json={}, headers=headers), 429, "RATE_LIMITED")
    stub: Any = auth_pb2_grpc.AuthServiceStub(guarded.channel)
    error = await grpc_error(stub.DeleteAccount(auth_pb2.DeleteAccountRequest(), metadata=tuple(headers.items())))
    assert details_of(details_bytes(error))[1] == 60 // SHIELD, "RetryInfo: this shield's wait, not the logins'"
    assert (await guarded.http.patch("/api/auth/profile", json={}, headers=guarded.bearer())).status_code == 200


async def test_a_change_of_an_account_may_take_as_long_as_a_worker(guarded: Gateway) -> None:
    started = time.monotonic()
    headers = guarded.bearer() | {"x-test": "hang"}
    check_body(await guarded.http.patch("/api/auth/profile", json={}, headers=headers), 504, "DEADLINE_EXCEEDED")
    assert time.monotonic() - started > ANSWER_BUDGET_S


BAD_REQUESTS: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "broken JSON": ("POST", "/api/auth/logout", {"content": "{"}, 400, "INVALID_ARGUMENT"),
    "array": ("POST", "/api/auth/logout", {"content": "[]"}, 400, "INVALID_ARGUMENT"),
    "wrong type": ("POST", "/api/auth/logout", {"json": {"refresh_token": {}}}, 400, "INVALID_ARGUMENT"),
    "bad UTF-8": ("POST", "/api/auth/logout", {"content": b'{"refresh_token":"\xff"}'}, 400, "INVALID_ARGUMENT"),
    "unknown query": ("GET", "/api/scores/around/u?nope=1", {}, 400, "INVALID_ARGUMENT"),
    "limit=abc": ("GET", "/api/scores/around/u?limit=abc", {}, 400, "INVALID_ARGUMENT"),
    "limit=1.5": ("GET", "/api/scores/around/u?limit=1.5", {}, 400, "INVALID_ARGUMENT"),
    "limit too large": ("GET", "/api/scores/around/u?limit=99999999999", {}, 400, "INVALID_ARGUMENT"),
    "escaped slash": ("GET", "/api%2fscores/around/u", {}, 400, "INVALID_ARGUMENT"),
    "unknown route": ("GET", "/api/nope", {}, 404, "NOT_FOUND"),
    "no route": ("GET", "/nope", {}, 404, "NOT_FOUND"),
    "wrong method": ("DELETE", "/api/scores/around/u", {}, 404, "NOT_FOUND"),
    "admin": ("POST", "/scoreboard.v1.AdminService/GetUser", {}, 404, "NOT_FOUND"),
    "large body": ("POST", "/api/auth/logout", {"json": {"refresh_token": "x" * 70_000}}, 413, "TOO_LARGE"),
    "large headers": ("GET", "/api/scores/around/u", {"headers": {"x-a": "x" * 40_000}}, 431, "TOO_LARGE"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_what_is_no_request_of_ours(guarded: Gateway, case: str) -> None:
    method, path, options, status, reason = BAD_REQUESTS[case]
    check_body(await guarded.http.request(method, path, **options), status, reason)


HARMLESS_HEADERS: dict[str, dict[str, Any]] = {
    "long token of a public call": {"authorization": f"Bearer {'x' * 9000}"},
    "no bearer": {"authorization": "Basic x"},
    "unknown compression": {"grpc-encoding": "bogus"},
    "broken deadline": {"grpc-timeout": "garbage"},
    "binary metadata that is not base64": {"x-trace-bin": "%%%"},
    "not ASCII": {"x-signature": b"\xff"},
    "another host": {"host": "evil.test"},
    "h2c": {"connection": "upgrade", "upgrade": "h2c"},
    "method override": {"x-http-method-override": "DELETE"},
    "status": {"x-http-code": "500"},
}


@pytest.mark.parametrize("case", HARMLESS_HEADERS)
async def test_headers_that_mean_nothing_here(guarded: Gateway, case: str) -> None:
    answer = await guarded.http.get("/api/scores/around/u", headers=HARMLESS_HEADERS[case])
    assert (answer.status_code, answer.json()["period"]) == (200, "p")
    answer = await guarded.http.post("/api/auth/logout", json={"refresh_token": "x"}, headers=HARMLESS_HEADERS[case])
    assert (answer.status_code, answer.json()) == (200, {"success": True})


async def test_what_is_no_http_gets_the_body_too(guarded: Gateway) -> None:
    host, port = guarded.target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GARBAGE\r\n\r\n")
    text = await asyncio.wait_for(reader.read(4096), 10)
    writer.close()
    assert text.startswith(b"HTTP/1.1 400")
    assert b'"reason":"INVALID_ARGUMENT"' in text


async def test_an_upgrade_elsewhere_is_refused_with_the_body(guarded: Gateway) -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-key": "x" * 24}
    answer = await guarded.http.get("/api/scores/around/u", headers=headers)
    check_body(answer, 400, "INVALID_ARGUMENT")


async def test_unknown_fields_of_a_body_are_ignored(guarded: Gateway) -> None:
    answer = await guarded.http.post("/api/auth/logout", json={"refresh_token": "x", "more": [1]})
    assert (answer.status_code, answer.json()) == (200, {"success": True})


@pytest.mark.parametrize(
    "path",
    [
        "/scoreboard.v1.AdminService/GetUser",
        "/scoreboard.v1.ScoreService/Nope",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/api/auth/logout",
    ],
)
async def test_an_unknown_rpc(guarded: Gateway, path: str) -> None:
    call: Any = guarded.channel.unary_unary(path)
    error = await grpc_error(call(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details_of(details_bytes(error))[0].reason == "NOT_FOUND"


async def test_a_call_that_takes_too_long(guarded: Gateway) -> None:
    hang = {"x-test": "hang"}
    path = "/scoreboard.v1.LeaderboardService/GetLeaderboard"
    request = leaderboard_pb2.GetLeaderboardRequest()
    stub: Any = leaderboard_pb2_grpc.LeaderboardServiceStub(guarded.channel)
    answer, error, web = await asyncio.gather(
        guarded.http.get("/api/scores/around/u", headers=hang),
        grpc_error(stub.GetLeaderboard(request, metadata=tuple(hang.items()))),
        grpc_web.call(guarded.http, path, request, hang),
    )
    check_body(answer, 504, "DEADLINE_EXCEEDED")
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (web.code, details_of(web.details)[0].reason) == (4, "DEADLINE_EXCEEDED")


async def test_pending_is_202_for_http_and_plain_for_grpc(guarded: Gateway) -> None:
    answer = await guarded.http.post("/api/scores/update", json=BODY, headers=guarded.bearer() | {"x-test": "pending"})
    assert answer.status_code == 202
    assert "x-http-code" not in answer.headers
    stub: Any = score_pb2_grpc.ScoreServiceStub(guarded.channel)
    call = stub.UpdateScore(score_pb2.UpdateScoreRequest(), metadata=(*guarded.bearer().items(), ("x-test", "pending")))
    assert (await call).success
    assert "x-http-code" not in dict(tuple(await call.initial_metadata()))


@pytest.mark.parametrize("path", ["/api/scores/leaderboard", "/api/scores/around/u"])  # past the transcoder, and by it
async def test_the_same_etag_is_304_without_a_body(guarded: Gateway, path: str) -> None:
    first = await guarded.http.get(path, headers={"x-test": "etag"})
    assert (first.status_code, first.headers["etag"], first.headers["cache-control"]) == (200, '"7"', "no-cache")
    headers = {"x-test": "etag", "if-none-match": '"7"'}
    again = await guarded.http.get(path, headers=headers)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"7"')
    assert "content-type" not in again.headers


async def test_numbers_are_numbers_and_names_are_camel_case(guarded: Gateway) -> None:
    answer = (await guarded.http.get("/api/scores/around/u")).json()
    assert answer == {
        "leaderboard": [{"rank": 1, "userId": "u", "username": "Ü", "score": 1200}],
        "board": "",
        "period": "p",
        "version": 2**40,
        "players": 0,
        "stale": False,
    }


@pytest.mark.promise(row=32)
async def test_headers_that_claim_an_identity_are_nothing_to_us(guarded: Gateway) -> None:
    claims = {"x-user-id": "u_admin", "x-jwt-payload": "e30", "x-envoy-upstream-rq-timeout-ms": "1", "x_user": "u"}
    seen = await guarded.http.get("/api/scores/around/u", headers=claims)
    assert (seen.status_code, seen.json()["board"]) == (200, ""), "the names of those that reached the service"
    answer = await guarded.http.post("/api/scores/update", json=BODY, headers=guarded.bearer(sub="u_me") | claims)
    assert answer.json()["username"] == "u_me"
    check_body(await guarded.http.post("/api/scores/update", json=BODY, headers=claims), 401, "TOKEN_MISSING")


async def test_binary_metadata_that_is_not_base64_harms_nobody(guarded: Gateway) -> None:
    answer = await guarded.http.get("/api/scores/around/u", headers={"x-trace-bin": "%%%"})
    assert answer.status_code == 200


async def test_a_stream_as_server_sent_events(guarded: Gateway) -> None:
    async with guarded.http.stream("GET", "/api/scores/stream?board=daily") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache"
        lines = answer.aiter_lines()
        frames = [json.loads(line.removeprefix("data: ")) for line in [await anext(lines), await anext(lines)] if line]
    assert (frames[0]["board"], frames[0]["version"]) == ("daily", 1)
    assert "heartbeat" not in frames[0]


async def test_a_stream_over_grpc_flushes_each_frame(guarded: Gateway) -> None:
    stub: Any = stream_pb2_grpc.StreamServiceStub(guarded.channel)
    call = stub.WatchLeaderboard(stream_pb2.WatchLeaderboardRequest())
    assert [(await call.read()).version for _ in range(2)] == [1, 2]
    call.cancel()


async def test_a_stream_refused_before_its_first_frame(guarded: Gateway) -> None:
    headers = {"x-test": "refuse UNKNOWN_BOARD"}
    answer = await guarded.http.get("/api/scores/stream?board=nope", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (404, "UNKNOWN_BOARD")


async def test_pages_of_allowed_origins_may_call(guarded: Gateway) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-signature"}
    allowed = await guarded.http.options("/api/scores/update", headers=ORIGIN | ask)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN["origin"])
    foreign = await guarded.http.options("/api/scores/update", headers={"origin": "https://evil.test"} | ask)
    assert "access-control-allow-origin" not in foreign.headers
    refused = await guarded.http.post("/api/scores/update", json=BODY, headers=ORIGIN)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN["origin"])


async def test_http2_without_tls(guarded: Gateway) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, http1=False, http2=True) as client:
        answer = await client.get("/api/scores/around/u")
        assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
        check_body(await client.get("/api/nope"), 404, "NOT_FOUND")


async def test_the_access_log_names_the_player_and_holds_no_secret(guarded: Gateway) -> None:
    headers = guarded.bearer(sub="u_logged")
    token = headers["authorization"].removeprefix("Bearer ")
    await guarded.http.post("/api/scores/update", json=BODY, headers=headers | {"x-signature": "s3cret-signature"})
    await guarded.http.get("/api/scores/around/u", params={"access_token": "s3cret-query"})

    def lines() -> list[dict[str, Any]]:
        found = access_lines(guarded)
        assert "u_logged" in {line["user_id"] for line in found}
        assert "/api/scores/around/u" in {line["path"] for line in found}
        return found

    mine = [line for line in await eventually(lines) if line["user_id"] == "u_logged"]
    assert [(line["path"], line["status"], line["method"]) for line in mine] == [("/api/scores/update", 200, "POST")]
    text = guarded.log.read_text()
    assert token not in text
    assert token.split(".")[2] not in text
    assert "s3cret" not in text
