"""What the Python client makes of a gRPC error: reason, delay and values, wherever they stand."""

from __future__ import annotations

import time

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from score_svc.nonce import parse
from scoreboard.client import Client, to_error
from scoreboard.v1 import auth_pb2


def rpc_error(code: grpc.StatusCode, words: str | None, *trailers: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), words)


def details(*messages: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> tuple[str, bytes]:
    packed = []
    for message in messages:
        packed.append(any_pb2.Any())
        packed[-1].Pack(message)
    return "grpc-status-details-bin", status_pb2.Status(details=packed).SerializeToString()


def test_reason_values_and_delay_come_from_the_details() -> None:
    info = error_details_pb2.ErrorInfo(reason="COOLDOWN", domain="scoreboard", metadata={"action": "win-round"})
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    error = to_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "Wait.", details(info, retry), ("retry-after", "9")))
    assert (error.reason, error.message, error.retry_after_s) == ("COOLDOWN", "Wait.", 1.5)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.metadata == {"action": "win-round"}
    assert str(error) == "COOLDOWN: Wait."


def test_a_delay_without_details_comes_from_the_header() -> None:
    error = to_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "Slow down.", ("retry-after", "7")))
    assert (error.reason, error.retry_after_s) == ("", 7.0)
    assert str(error) == "RESOURCE_EXHAUSTED: Slow down."


def test_an_error_of_the_network_has_neither_reason_nor_delay() -> None:
    error = to_error(rpc_error(grpc.StatusCode.UNAVAILABLE, None))
    assert (error.reason, error.message, error.retry_after_s, error.metadata) == ("", "", None, {})


async def test_a_call_before_a_login_says_so() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(RuntimeError, match="not logged in"):
            await client.update("win-round")


async def test_a_kept_session_makes_nonces_of_now() -> None:
    async with Client("127.0.0.1:1") as client:
        client.resume(auth_pb2.Session(server_time=1_000_000.0, expires_in=600))
        made_ms = parse(client.nonce()).time_ms
    assert abs(made_ms - time.time() * 1000) < 60_000
