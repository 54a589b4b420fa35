"""The gateway while what stands behind it is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest

from scoreboard.local import gateway, servers
from scoreboard.local.ports import Ports
from scoreboard.v1 import leaderboard_pb2, leaderboard_pb2_grpc, score_pb2, score_pb2_grpc
from tests import servers as test_servers
from tests.e2e import grpc_web
from tests.e2e.conftest import Signer
from tests.e2e.test_error_table import details_bytes, details_of, grpc_error
from tests.e2e.test_gateway import BODY, UPDATE, check_body
from tests.waiting import eventually

SERVICES = ("auth_svc", "auth_svc-http", "score_svc", "leaderboard_svc", "stream_svc", "stream_svc-http")


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[str]:
    """HOST:PORT of a gateway with nothing behind it."""
    ports = Ports()
    numbers = {name: ports.take(name) for name in ("envoy", "envoy-admin", *SERVICES)}
    text = gateway.render(numbers | {"gateway": numbers["envoy"]}, 10, 20)
    ports.release("envoy-admin")
    front = await test_servers.run(
        servers.envoy(tmp_path, text, numbers["envoy"], numbers["envoy-admin"]), ports, tmp_path
    )
    yield f"127.0.0.1:{numbers['envoy']}"
    await front.kill()
    ports.release_all()


async def test_a_service_that_is_away(lonely: str) -> None:
    path, request = "/scoreboard.v1.LeaderboardService/GetLeaderboard", leaderboard_pb2.GetLeaderboardRequest()
    async with httpx.AsyncClient(base_url=f"http://{lonely}") as http, grpc.aio.insecure_channel(lonely) as channel:
        check_body(await http.get("/api/scores/leaderboard"), 503, "SERVICE_AWAY")
        error = await grpc_error(leaderboard_pb2_grpc.LeaderboardServiceStub(channel).GetLeaderboard(request))
        info, retry_s = details_of(details_bytes(error))
        assert (error.code(), info.reason, retry_s) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_AWAY", 1)
        web = await grpc_web.call(http, path, request, {})
        assert (web.code, details_of(web.details)[0].reason) == (14, "SERVICE_AWAY")


async def test_a_token_that_cannot_be_checked_is_not_called_bad(lonely: str) -> None:
    headers = {"authorization": f"Bearer {Signer().token(iss=f'http://{lonely}')}"}
    async with httpx.AsyncClient(base_url=f"http://{lonely}") as http, grpc.aio.insecure_channel(lonely) as channel:

        async def away() -> bool:
            check_body(await http.post("/api/scores/update", json=BODY, headers=headers), 503, "SERVICE_AWAY")
            return True

        await eventually(away)
        call = score_pb2_grpc.ScoreServiceStub(channel).UpdateScore(
            score_pb2.UpdateScoreRequest(), metadata=tuple(headers.items())
        )
        error = await grpc_error(call)
        assert (error.code(), details_of(details_bytes(error))[0].reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "SERVICE_AWAY",
        )
        web = await grpc_web.call(http, UPDATE, score_pb2.UpdateScoreRequest(), headers)
        assert (web.http_status, details_of(web.details)[0].reason) == (503, "SERVICE_AWAY")
