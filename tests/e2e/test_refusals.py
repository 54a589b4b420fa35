"""Every refusal that a client of a whole mesh can bring about, by JSON, gRPC and gRPC-Web."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

import grpc
import jwt
import pytest
from google.protobuf.message import Message

from mesh.reasons import CODES, PHRASES, Reason
from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2
from tests.e2e.players import PASSWORD, Player, fresh_nonce, sign_up
from tests.e2e.protocols import Protocols

Ask = tuple[str, Message, Mapping[str, str]]
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
}
SEEDS_WORDS = {"error": "Invalid user ID or action ID", "message": "The provided userId or actionId is not valid."}


def update(player: Player, request: score_pb2.UpdateScoreRequest) -> Ask:
    return "UpdateScore", request, player.signed(request)


async def played(mesh: Protocols, player: Player, request: score_pb2.UpdateScoreRequest) -> None:
    said = await mesh.call("json", *update(player, request))
    assert said.message is not None, said


async def bad_limit(mesh: Protocols, player: Player) -> Ask:
    return "GetLeaderboard", leaderboard_pb2.GetLeaderboardRequest(limit=101), {}


async def short_password(mesh: Protocols, player: Player) -> Ask:
    return "Register", auth_pb2.RegisterRequest(username="a", password="short"), {}


async def malformed_nonce(mesh: Protocols, player: Player) -> Ask:
    return update(player, player.update(nonce="c.AAAA"))


async def nonce_of_the_future(mesh: Protocols, player: Player) -> Ask:
    return update(player, player.update(nonce=fresh_nonce(ago_s=-120)))


async def expired_nonce(mesh: Protocols, player: Player) -> Ask:
    return update(player, player.update(nonce=fresh_nonce(ago_s=400)))


async def nonce_of_another_action(mesh: Protocols, player: Player) -> Ask:
    request = score_pb2.IssueNonceRequest(action_id="collect-coin")
    issued = (await mesh.call("json", "IssueNonce", request, player.bearer)).message
    return update(player, player.update(nonce=issued.nonce))


async def unknown_action(mesh: Protocols, player: Player) -> Ask:
    return update(player, player.update("no-such-action"))


async def no_token(mesh: Protocols, player: Player) -> Ask:
    request = player.update()
    return "UpdateScore", request, {"x-signature": player.signed(request)["x-signature"]}


async def forged_token(mesh: Protocols, player: Player) -> Ask:
    claims = jwt.decode(player.session.access_token, options={"verify_signature": False})
    token = jwt.encode(claims | {"exp": time.time() + 600}, "x" * 32, algorithm="HS256", headers={"typ": "at+jwt"})
    return "UpdateScore", player.update(), {"authorization": f"Bearer {token}"}


async def logged_out(mesh: Protocols, player: Player) -> Ask:
    out = auth_pb2.LogoutRequest(refresh_token=player.session.refresh_token)
    await mesh.call("json", "Logout", out, {})
    return "Refresh", auth_pb2.RefreshRequest(refresh_token=player.session.refresh_token), {}


async def wrong_password(mesh: Protocols, player: Player) -> Ask:
    return "Login", auth_pb2.LoginRequest(username=player.name, password="wrong " + PASSWORD), {}


async def another_players_score(mesh: Protocols, player: Player) -> Ask:
    other = await sign_up(mesh)
    return update(player, player.update(user=other.session.user_id))


async def wrong_signature(mesh: Protocols, player: Player) -> Ask:
    return "UpdateScore", player.update(), player.signed(player.update())


async def no_signature(mesh: Protocols, player: Player) -> Ask:
    return "UpdateScore", player.update(), player.bearer


async def a_batch_by_a_player(mesh: Protocols, player: Player) -> Ask:
    return "UpdateScores", score_pb2.UpdateScoresRequest(updates=[player.update()]), player.bearer


async def an_action_for_servers(mesh: Protocols, player: Player) -> Ask:
    return update(player, player.update("match-result"))


async def nobodys_rank(mesh: Protocols, player: Player) -> Ask:
    return "GetRank", leaderboard_pb2.GetRankRequest(user_id="u_nobody"), {}


async def no_such_board(mesh: Protocols, player: Player) -> Ask:
    return "GetLeaderboard", leaderboard_pb2.GetLeaderboardRequest(board="nope"), {}


async def no_such_update(mesh: Protocols, player: Player) -> Ask:
    return "GetUpdate", score_pb2.GetUpdateRequest(update_id=str(uuid.uuid4())), player.bearer


async def a_nonce_used_for_another_action(mesh: Protocols, player: Player) -> Ask:
    first = player.update()
    await played(mesh, player, first)
    return update(player, player.update("collect-coin", first.nonce))


async def a_name_that_is_taken(mesh: Protocols, player: Player) -> Ask:
    return "Register", auth_pb2.RegisterRequest(username=player.name, password=PASSWORD), {}


async def an_eleventh_update(mesh: Protocols, player: Player) -> Ask:
    for _ in range(10):
        await played(mesh, player, player.update("collect-coin"))
    return update(player, player.update("collect-coin"))


async def a_second_daily_bonus(mesh: Protocols, player: Player) -> Ask:
    await played(mesh, player, player.update("daily-bonus"))
    return update(player, player.update("daily-bonus"))


CASES: list[tuple[Callable[[Protocols, Player], Awaitable[Ask]], Reason]] = [
    (bad_limit, Reason.INVALID_ARGUMENT),
    (short_password, Reason.INVALID_ARGUMENT),
    (malformed_nonce, Reason.NONCE_MALFORMED),
    (nonce_of_the_future, Reason.NONCE_MALFORMED),
    (expired_nonce, Reason.NONCE_EXPIRED),
    (nonce_of_another_action, Reason.NONCE_MISMATCH),
    (unknown_action, Reason.UNKNOWN_ACTION),
    (no_token, Reason.TOKEN_MISSING),
    (forged_token, Reason.TOKEN_INVALID),
    (logged_out, Reason.SESSION_REVOKED),
    (wrong_password, Reason.BAD_CREDENTIALS),
    (another_players_score, Reason.NOT_YOUR_SCORE),
    (wrong_signature, Reason.SIGNATURE_INVALID),
    (no_signature, Reason.SIGNATURE_MISSING),
    (a_batch_by_a_player, Reason.SCOPE_MISSING),
    (an_action_for_servers, Reason.SERVER_ONLY_ACTION),
    (nobodys_rank, Reason.UNKNOWN_USER),
    (no_such_board, Reason.UNKNOWN_BOARD),
    (no_such_update, Reason.NOT_FOUND),
    (a_nonce_used_for_another_action, Reason.NONCE_REUSED),
    (a_name_that_is_taken, Reason.USERNAME_TAKEN),
    (an_eleventh_update, Reason.RATE_LIMITED),
    (a_second_daily_bonus, Reason.CAP_REACHED),
]


@pytest.mark.parametrize(("case", "reason"), CASES, ids=[case.__name__ for case, _ in CASES])
async def test_a_refusal_is_the_same_by_every_protocol(
    mesh: Protocols, case: Callable[[Protocols, Player], Awaitable[Ask]], reason: Reason
) -> None:
    player = await sign_up(mesh)
    rpc, request, headers = await case(mesh, player)
    code = CODES[reason].name
    said = {protocol: await mesh.call(protocol, rpc, request, headers) for protocol in ("json", "grpc", "grpc-web")}
    assert {protocol: one.reason for protocol, one in said.items()} == dict.fromkeys(said, reason)
    assert (said["grpc"].code, said["grpc-web"].code, said["json"].status) == (code, code, HTTP_STATUS[code])
    body = said["json"].body
    words = (
        SEEDS_WORDS if reason is Reason.UNKNOWN_ACTION else {"error": PHRASES[reason], "message": said["grpc"].words}
    )
    assert body == {"success": False, "reason": reason, **words}
    waits = [one.retry_s is not None and one.retry_s >= 1 for one in said.values()]
    assert waits[0] is (HTTP_STATUS[code] == 429)
    assert waits[1] == waits[2]


async def test_ids_that_are_missing_get_the_seeds_words(mesh: Protocols) -> None:
    player = await sign_up(mesh)
    for request in (player.update(user=""), player.update("")):
        said = await mesh.call("json", *update(player, request))
        assert (said.status, said.body) == (400, {"success": False, "reason": "INVALID_ARGUMENT", **SEEDS_WORDS})


async def test_the_same_update_again_by_another_protocol_gets_the_same_answer(mesh: Protocols) -> None:
    player = await sign_up(mesh)
    ask = update(player, player.update())
    said = [await mesh.call(protocol, *ask) for protocol in ("grpc", "grpc-web", "json")]
    assert [(one.message.new_score, one.message.status) for one in said] == [(50, score_pb2.APPLIED)] * 3


async def test_a_call_past_the_gateway_needs_a_token_all_the_same(mesh: Protocols) -> None:
    player = await sign_up(mesh)
    request = player.update()
    signature = {"x-signature": player.signed(request)["x-signature"]}
    claims = {"x-user-id": player.session.user_id, "x-jwt-payload": "e30", "x-forwarded-user": player.session.user_id}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.ports['score_svc']}") as channel:
        past = Protocols(mesh.http, channel)
        said = await past.call("grpc", "UpdateScore", request, signature | claims)
        assert (said.code, said.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        _, _, forged = await forged_token(mesh, player)
        said = await past.call("grpc", "UpdateScore", request, {**forged, **signature, **claims})
        assert (said.code, said.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
