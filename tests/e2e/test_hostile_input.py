"""Whatever a client sends to a whole mesh: a clear refusal in the one shape, never a 500, and nothing counted."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.reasons import Reason
from scoreboard.v1 import leaderboard_pb2, score_pb2, signing
from tests.e2e.players import Player, sign_up
from tests.e2e.protocols import Protocols
from tests.sizes import SHARING

# Fewer than the shield lets through a minute (60), so that one player serves a whole test.
some = settings(max_examples=40, suppress_health_check=SHARING)

NASTY = [
    "",
    "\x00",
    "a\x00b",
    "' OR 1=1 --",
    "{{7*7}}",
    "../../etc/passwd",
    "\u202e",
    "\U0001f600" * 30,
    "a" * 5000,
    "line\nfeed",
    "%00",
    "null",
    "__proto__",
    "\ufeff",
    "sb:b:*",
]
TEXT = st.one_of(st.sampled_from(NASTY), st.text(max_size=60))
JSON: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
BODIES = [b"", b"{", b"[]", b"null", b"1e999", b'{"userId":1}', b'{"a":' * 500, b"\x00" * 100, b'"' + b"x" * 70_000]
WITH_BODY = [
    ("POST", "/api/auth/register"),
    ("POST", "/api/auth/guest"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/refresh"),
    ("POST", "/api/auth/logout"),
    ("PATCH", "/api/auth/profile"),
    ("POST", "/api/auth/delete"),
    ("POST", "/api/scores/nonce"),
    ("POST", "/api/scores/update"),
    ("POST", "/api/scores/updates"),
]


def check(answer: httpx.Response) -> None:
    """Fails unless this is a good answer or the one error body with a status that is the client's fault."""
    if answer.status_code < 400:
        return
    assert answer.status_code < 500, answer.text
    body = answer.json()
    assert sorted(body) == ["error", "message", "reason", "success"], body
    assert body["reason"] in set(Reason)
    for inside in ("Traceback", "asyncpg", "redis", "grpc", "SELECT", "/work/", ".py"):
        assert inside not in body["message"], body


@pytest.fixture
async def player(mesh: Protocols) -> Player:
    """Whoever sends it; a test's own, for the shield counts a player's calls."""
    return await sign_up(mesh)


@some
@given(user=TEXT, action=TEXT, nonce=TEXT, signature=TEXT)
async def test_updates(mesh: Protocols, player: Player, user: str, action: str, nonce: str, signature: str) -> None:
    headers = player.bearer | {"x-signature": quote(signature)}
    body = {"userId": user, "actionId": action, "nonce": nonce}
    answer = await mesh.http.post("/api/scores/update", content=json.dumps(body), headers=headers)
    check(answer)
    assert answer.status_code >= 400


@some
@given(action=TEXT, nonce=TEXT)
async def test_updates_with_a_good_signature(mesh: Protocols, player: Player, action: str, nonce: str) -> None:
    user = player.session.user_id
    signature = signing.sign(player.key, signing.update_payload(user, action, nonce))
    body = {"userId": user, "actionId": action, "nonce": nonce}
    headers = player.bearer | {"x-signature": signature}
    answer = await mesh.http.post("/api/scores/update", content=json.dumps(body), headers=headers)
    check(answer)
    assert answer.status_code >= 400
    request = leaderboard_pb2.GetRankRequest(user_id=user)
    assert (await mesh.call("grpc", "GetRank", request, {})).reason == "UNKNOWN_USER", "nothing was counted"


@pytest.mark.promise(row=26)
async def test_points_that_a_client_names_are_not_taken(mesh: Protocols, player: Player) -> None:
    for number, field in enumerate(("points", "newScore", "new_score", "score", "accepted_at_us", "kind", "status"), 1):
        request = player.update()
        body = {"userId": request.user_id, "actionId": request.action_id, "nonce": request.nonce, field: 1e6}
        answer = await mesh.http.post("/api/scores/update", json=body, headers=player.signed(request))
        assert (answer.status_code, answer.json()["points"], answer.json()["newScore"]) == (200, 50, number * 50)
    request = player.update()
    body = {"userId": request.user_id, "actionId": request.action_id, "nonce": request.nonce, "value": 1e6}
    answer = await mesh.http.post("/api/scores/update", json=body, headers=player.signed(request))
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENT")


@some
@given(body=st.one_of(JSON.map(json.dumps).map(str.encode), st.binary(max_size=200), st.sampled_from(BODIES)))
async def test_bodies_of_any_form(mesh: Protocols, player: Player, body: bytes) -> None:
    for method, path in WITH_BODY:
        check(await mesh.http.request(method, path, content=body, headers=player.bearer))


@settings(some, max_examples=15)  # a board that is not known waits up to 0.2 s for another look, twice in each
@given(limit=TEXT, offset=TEXT, board=TEXT, period=TEXT)
async def test_queries(mesh: Protocols, limit: str, offset: str, board: str, period: str) -> None:
    for query in (
        {"limit": limit},
        {"offset": offset},
        {"board": board, "period": period},
        {"limit": "5", "offset": "10", "board": board},
    ):
        check(await mesh.http.get("/api/scores/leaderboard", params=query))


@some
@given(name=TEXT)
async def test_names_in_paths(mesh: Protocols, player: Player, name: str) -> None:
    part = quote(name, safe="")
    for path in (f"/api/scores/rank/{part}", f"/api/scores/around/{part}"):
        check(await mesh.http.get(path))
    check(await mesh.http.get(f"/api/scores/updates/{part}", headers=player.bearer))


@some
@given(username=TEXT, password=TEXT)
async def test_names_and_passwords(mesh: Protocols, username: str, password: str) -> None:
    body = json.dumps({"username": username, "password": password})
    for path in ("/api/auth/login", "/api/auth/register", "/api/auth/guest"):
        check(await mesh.http.post(path, content=body))


@some
@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300))
async def test_tokens(mesh: Protocols, token: str) -> None:
    for header in (f"Bearer {token}", token):
        answer = await mesh.http.post("/api/scores/nonce", json={"actionId": "a"}, headers={"authorization": header})
        check(answer)
        assert answer.status_code in (400, 401)


@some
@given(body=st.binary(max_size=200))
async def test_bytes_that_are_no_message(mesh: Protocols, body: bytes) -> None:
    for rpc in ("ScoreService/UpdateScore", "LeaderboardService/GetLeaderboard", "AuthService/Login"):
        call: Any = mesh.channel.unary_unary(f"/scoreboard.v1.{rpc}")
        running = call(body)
        assert await running.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


async def test_numbers_beyond_any_range(mesh: Protocols) -> None:
    for limit, offset in ((0, 0), (-1, 0), (101, 0), (2**31 - 1, 0), (-(2**31), 0), (1, -1), (1, 10_001)):
        request = leaderboard_pb2.GetLeaderboardRequest(limit=limit, offset=offset)
        said = {way: await mesh.call(way, "GetLeaderboard", request, {}) for way in ("json", "grpc", "grpc-web")}
        assert {one.reason for one in said.values()} == {"INVALID_ARGUMENT"}, (limit, offset)


async def test_a_batch_that_is_too_large(mesh: Protocols, player: Player) -> None:
    request = score_pb2.UpdateScoresRequest(updates=[player.update() for _ in range(3000)])
    said = {way: await mesh.call(way, "UpdateScores", request, player.bearer) for way in ("json", "grpc", "grpc-web")}
    assert said["json"].reason == "TOO_LARGE"
    assert {said["grpc"].reason, said["grpc-web"].reason} <= {"TOO_LARGE", "SCOPE_MISSING"}
