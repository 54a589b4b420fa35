"""Every row of the contract's error table, through the gateway, as JSON, gRPC and gRPC-Web."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mesh.reasons import PHRASES, Reason
from scoreboard.v1 import leaderboard_pb2, leaderboard_pb2_grpc
from tests.e2e import grpc_web
from tests.e2e.conftest import Gateway
from tests.e2e.refusing import MESSAGE, RETRYABLE

#: CONTRACT.md's table: gRPC code, HTTP status, reasons.
TABLE = [
    ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT NONCE_MALFORMED NONCE_EXPIRED NONCE_MISMATCH UNKNOWN_ACTION"),
    ("UNAUTHENTICATED", 401, "TOKEN_MISSING TOKEN_INVALID TOKEN_EXPIRED SESSION_REVOKED BAD_CREDENTIALS"),
    (
        "PERMISSION_DENIED",
        403,
        "NOT_YOUR_SCORE SIGNATURE_INVALID SIGNATURE_MISSING SCOPE_MISSING SERVER_ONLY_ACTION BANNED",
    ),
    ("NOT_FOUND", 404, "UNKNOWN_USER UNKNOWN_BOARD NOT_FOUND"),
    ("ABORTED", 409, "NONCE_REUSED"),
    ("ALREADY_EXISTS", 409, "USERNAME_TAKEN"),
    ("RESOURCE_EXHAUSTED", 429, "RATE_LIMITED COOLDOWN CAP_REACHED QUEUE_FULL SLOW_CONSUMER"),
    ("RESOURCE_EXHAUSTED", 413, "TOO_LARGE"),
    ("UNAVAILABLE", 503, "BROKER_AWAY LEADERBOARD_UNAVAILABLE SERVICE_AWAY"),
    ("DEADLINE_EXCEEDED", 504, "DEADLINE_EXCEEDED"),
    ("INTERNAL", 500, "INTERNAL"),
]
ROWS = [(code, status, reason) for code, status, reasons in TABLE for reason in reasons.split()]
WAIT = "7"  # what refusing.py's 6.2 s are rounded up to
SEEDS_WORDS = {
    "error": "Invalid user ID or action ID",
    "message": "The provided userId or actionId is not valid.",
}
RPC = "/scoreboard.v1.LeaderboardService/GetLeaderboard"
REQUEST = leaderboard_pb2.GetLeaderboardRequest()


def details_of(status: bytes) -> tuple[error_details_pb2.ErrorInfo, int | None]:
    """Returns the ErrorInfo of a serialised google.rpc.Status, and the seconds of its RetryInfo."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(status).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return info, retry.retry_delay.seconds if retry.HasField("retry_delay") else None


async def grpc_error(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def details_bytes(error: grpc.aio.AioRpcError) -> bytes:
    found = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert len(found) == 1, "exactly one google.rpc.Status"
    return bytes(found[0])  # type: ignore[arg-type]


def test_the_table_names_every_reason() -> None:
    assert sorted(reason for *_, reason in ROWS) == sorted(Reason)


@pytest.mark.parametrize(("code", "status", "reason"), ROWS)
async def test_json(guarded: Gateway, code: str, status: int, reason: str) -> None:
    answer = await guarded.http.get("/api/scores/around/u", headers={"x-test": f"refuse {reason}"})
    words = SEEDS_WORDS if reason == "UNKNOWN_ACTION" else {"error": PHRASES[Reason(reason)], "message": MESSAGE}
    assert answer.status_code == status
    assert answer.json() == {"success": False, "reason": reason, **words}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("retry-after") == (WAIT if reason in RETRYABLE else None)
    assert not [name for name in answer.headers if name.startswith("grpc-")]


@pytest.mark.parametrize(("code", "status", "reason"), ROWS)
async def test_grpc(guarded: Gateway, code: str, status: int, reason: str) -> None:
    stub: Any = leaderboard_pb2_grpc.LeaderboardServiceStub(guarded.channel)
    error = await grpc_error(stub.GetLeaderboard(REQUEST, metadata=(("x-test", f"refuse {reason}"),)))
    info, retry_s = details_of(details_bytes(error))
    assert (error.code().name, error.details(), info.domain, info.reason) == (code, MESSAGE, "scoreboard", reason)
    assert retry_s == (int(WAIT) if reason in RETRYABLE else None)


@pytest.mark.parametrize(("code", "status", "reason"), ROWS)
async def test_grpc_web(guarded: Gateway, code: str, status: int, reason: str) -> None:
    answer = await grpc_web.call(guarded.http, RPC, REQUEST, {"x-test": f"refuse {reason}"})
    info, retry_s = details_of(answer.details)
    assert answer.code == code_pb2.Code.Value(code)
    assert (answer.message, info.domain, info.reason) == (MESSAGE, "scoreboard", reason)
    assert retry_s == (int(WAIT) if reason in RETRYABLE else None)


@pytest.mark.parametrize("field", ["user_id", "action_id"])
async def test_a_bad_user_or_action_has_the_seeds_words(guarded: Gateway, field: str) -> None:
    answer = await guarded.http.get("/api/scores/around/u", headers={"x-test": f"refuse INVALID_ARGUMENT {field}"})
    assert answer.json() == {"success": False, "reason": "INVALID_ARGUMENT", **SEEDS_WORDS}


@pytest.mark.parametrize("reason", [Reason.UNKNOWN_BOARD, Reason.LEADERBOARD_UNAVAILABLE, Reason.INVALID_ARGUMENT])
async def test_the_list_past_the_transcoder_refuses_in_the_same_words(guarded: Gateway, reason: Reason) -> None:
    headers = {"x-test": f"refuse {reason}"}
    plain = await guarded.http.get("/api/scores/leaderboard", headers=headers)
    other = await guarded.http.get("/api/scores/around/u", headers=headers)
    assert (plain.status_code, plain.json()) == (other.status_code, other.json())
    kept = ("content-type", "retry-after")
    assert [plain.headers.get(name) for name in kept] == [other.headers.get(name) for name in kept]


async def test_an_unexpected_error_says_nothing_of_our_inside(guarded: Gateway) -> None:
    crash = {"x-test": "crash"}
    answer = await guarded.http.get("/api/scores/around/u", headers=crash)
    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    stub: Any = leaderboard_pb2_grpc.LeaderboardServiceStub(guarded.channel)
    error = await grpc_error(stub.GetLeaderboard(REQUEST, metadata=tuple(crash.items())))
    web = await grpc_web.call(guarded.http, RPC, REQUEST, crash)
    said = answer.text + str(error) + json.dumps(web.headers)
    assert "secret inside" not in said
    assert "RuntimeError" not in said
    assert "Traceback" not in said
