"""Every refusal that a client of a whole mesh can bring about, by JSON, gRPC and gRPC-Web."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

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


async def a_guests_bad_name(mesh: Protocols, player: Player) -> Ask:
    return "Guest", auth_pb2.GuestRequest(username="a\u202eb"), {}


async def a_profile_without_a_token(mesh: Protocols, player: Player) -> Ask:
    return "UpdateProfile", auth_pb2.UpdateProfileRequest(username="x", password=PASSWORD), {}


async def an_erasure_by_a_forged_token(mesh: Protocols, player: Player) -> Ask:
    _, _, headers = await forged_token(mesh, player)
    return "DeleteAccount", auth_pb2.DeleteAccountRequest(password=PASSWORD), headers


async def a_profile_with_a_wrong_password(mesh: Protocols, player: Player) -> Ask:
    request = auth_pb2.UpdateProfileRequest(username="x", password="wrong " + PASSWORD)
    return "UpdateProfile", request, player.bearer


async def an_erasure_with_a_wrong_password(mesh: Protocols, player: Player) -> Ask:
    return "DeleteAccount", auth_pb2.DeleteAccountRequest(password="wrong " + PASSWORD), player.bearer


async def an_accounts_erasure_without_its_password(mesh: Protocols, player: Player) -> Ask:
    return "DeleteAccount", auth_pb2.DeleteAccountRequest(), player.bearer


async def a_new_name_that_is_taken(mesh: Protocols, player: Player) -> Ask:
    other = await sign_up(mesh)
    return "UpdateProfile", auth_pb2.UpdateProfileRequest(username=other.name, password=PASSWORD), player.bearer


async def a_profile_of_an_ended_session(mesh: Protocols, player: Player) -> Ask:
    await logged_out(mesh, player)
    return "UpdateProfile", auth_pb2.UpdateProfileRequest(username="x", password=PASSWORD), player.bearer


async def an_update_by_the_token_of_an_erased_player(mesh: Protocols, player: Player) -> Ask:
    gone = await mesh.call("json", "DeleteAccount", auth_pb2.DeleteAccountRequest(password=PASSWORD), player.bearer)
    assert gone.message == auth_pb2.DeleteAccountResponse(success=True), gone
    return update(player, player.update())


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
    (a_guests_bad_name, Reason.INVALID_ARGUMENT),
    (a_profile_without_a_token, Reason.TOKEN_MISSING),
    (an_erasure_by_a_forged_token, Reason.TOKEN_INVALID),
    (a_profile_with_a_wrong_password, Reason.BAD_CREDENTIALS),
    (an_erasure_with_a_wrong_password, Reason.BAD_CREDENTIALS),
    (an_accounts_erasure_without_its_password, Reason.INVALID_ARGUMENT),
    (a_new_name_that_is_taken, Reason.USERNAME_TAKEN),
    (a_profile_of_an_ended_session, Reason.SESSION_REVOKED),
    (an_update_by_the_token_of_an_erased_player, Reason.SESSION_REVOKED),
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


@pytest.mark.promise(row=29)
async def test_the_tokens_of_a_session_that_ended_for_reuse_are_refused(mesh: Protocols) -> None:
    player = await sign_up(mesh)
    refresh = auth_pb2.RefreshRequest(refresh_token=player.session.refresh_token)
    successor = replace(player, session=(await mesh.call("json", "Refresh", refresh, {})).message)
    assert (await mesh.call("grpc", *update(successor, successor.update()))).message.new_score == 50
    assert (await mesh.call("json", "Refresh", refresh, {})).reason == "SESSION_REVOKED"
    for one in (player, successor):
        for protocol in ("json", "grpc", "grpc-web"):
            assert (await mesh.call(protocol, *update(one, one.update()))).reason == "SESSION_REVOKED"


@pytest.mark.promise(row=32)
async def test_a_call_past_the_gateway_needs_a_token_all_the_same(mesh: Protocols) -> None:
    player = await sign_up(mesh)
    request = player.update()
    signature = {"x-signature": player.signed(request)["x-signature"]}
    claims = {
        "x-user-id": player.session.user_id,
        "x-jwt-payload": "e30",
        "x-forwarded-user": player.session.user_id,
        "x-role": "game_server",
    }
    asks: list[tuple[str, Message]] = [
        ("UpdateScore", request),
        ("IssueNonce", score_pb2.IssueNonceRequest(action_id="win-round")),
        ("UpdateScores", score_pb2.UpdateScoresRequest(updates=[request])),
        ("GetUpdate", score_pb2.GetUpdateRequest(update_id=str(uuid.uuid4()))),
    ]
    assert len(asks) == len(score_pb2.DESCRIPTOR.services_by_name["ScoreService"].methods), "all that score_svc does"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.ports['score_svc']}") as channel:
        past = Protocols(mesh.http, channel)
        _, _, forged = await forged_token(mesh, player)
        for rpc, message in asks:
            said = await past.call("grpc", rpc, message, signature | claims)
            assert (rpc, said.code, said.reason) == (rpc, "UNAUTHENTICATED", "TOKEN_MISSING")
            said = await past.call("grpc", rpc, message, {**forged, **signature, **claims})
            assert (rpc, said.code, said.reason) == (rpc, "UNAUTHENTICATED", "TOKEN_INVALID")


@pytest.mark.promise(row=32)
async def test_headers_make_nobody_another_player_or_a_server(mesh: Protocols) -> None:
    player, eve = await sign_up(mesh), await sign_up(mesh)
    claims = {"x-user-id": player.session.user_id, "x-jwt-payload": "e30", "x-role": "game_server", "x-scope": "all"}
    for protocol in ("json", "grpc", "grpc-web"):
        own = eve.update()
        said = await mesh.call(protocol, "UpdateScore", own, eve.signed(own) | claims)
        assert said.message is not None, said
        assert said.message.username == eve.name
        hers = player.update()
        said = await mesh.call(protocol, "UpdateScore", hers, eve.signed(hers) | claims)
        assert said.reason == "NOT_YOUR_SCORE"
        batch = score_pb2.UpdateScoresRequest(updates=[hers])
        said = await mesh.call(protocol, "UpdateScores", batch, eve.bearer | claims)
        assert said.reason == "SCOPE_MISSING"
    rank = leaderboard_pb2.GetRankRequest(user_id=player.session.user_id)
    assert (await mesh.call("grpc", "GetRank", rank, {})).reason == "UNKNOWN_USER", "nothing was counted"
