"""The gateway while what stands behind it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from scoreboard.local import gateway, probe, servers
from scoreboard.local.gateway import Hop
from scoreboard.local.ports import Ports
from scoreboard.local.program import Running
from scoreboard.local.services import BEHIND_GATEWAY
from scoreboard.v1 import leaderboard_pb2, leaderboard_pb2_grpc, score_pb2, score_pb2_grpc, stream_pb2, stream_pb2_grpc
from tests import servers as test_servers
from tests.e2e import grpc_web
from tests.e2e.conftest import Signer
from tests.e2e.test_error_table import details_bytes, details_of, grpc_error
from tests.e2e.test_gateway import BODY, UPDATE, check_body
from tests.waiting import SCALE, eventually

SERVICES = (*BEHIND_GATEWAY, "auth_svc-http", "stream_svc-http", "leaderboard_svc-gateway")


@asynccontextmanager
async def gateway_in(folder: Path, **behind: int) -> AsyncIterator[Running]:
    """Runs a gateway with nothing behind it but what listens on the ports given, as in `stream_svc=12345`."""
    ports = Ports()
    numbers = {name: ports.take(name) for name in ("envoy", "envoy-admin", *SERVICES)} | behind
    text = gateway.render(numbers | {"gateway": numbers["envoy"]}, 10, 20, hop=Hop.GRPC)
    ports.release("envoy-admin")
    front = await test_servers.run(servers.envoy(folder, text, numbers["envoy"], numbers["envoy-admin"]), ports, folder)
    try:
        yield front
    finally:
        await front.kill()
        ports.release_all()


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[str]:
    """HOST:PORT of a gateway with nothing behind it."""
    async with gateway_in(tmp_path) as front:
        yield f"127.0.0.1:{front.program.port}"


class Slow(stream_pb2_grpc.StreamServiceServicer):
    """Answers when it is let."""

    def __init__(self) -> None:
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def WatchLeaderboard(
        self, request: stream_pb2.WatchLeaderboardRequest, context: object
    ) -> AsyncIterator[stream_pb2.LeaderboardUpdate]:
        self.is_asked.set()
        await self.may_answer.wait()
        yield stream_pb2.LeaderboardUpdate(version=7)


async def test_a_stop_lets_calls_in_flight_finish(tmp_path: Path) -> None:
    slow, server, alive = Slow(), grpc.aio.server(), health.aio.HealthServicer()
    stream_pb2_grpc.add_StreamServiceServicer_to_server(slow, server)
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with gateway_in(tmp_path, stream_svc=port) as front:
            target = f"127.0.0.1:{front.program.port}"
            async with grpc.aio.insecure_channel(target) as channel:
                call: Any = stream_pb2_grpc.StreamServiceStub(channel).WatchLeaderboard(
                    stream_pb2.WatchLeaderboardRequest(), wait_for_ready=True
                )
                await asyncio.wait_for(slow.is_asked.wait(), 20 * SCALE)
                stop = asyncio.create_task(front.stop())

                async def is_shut() -> bool:
                    return not await probe.listens(front.program.port)

                await eventually(is_shut, what="a gateway that takes no more calls")
                slow.may_answer.set()
                assert [frame.version async for frame in call] == [7]
                await stop
                assert front.returncode == 0
    finally:
        await server.stop(None)


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
