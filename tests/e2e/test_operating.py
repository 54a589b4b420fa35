"""Operating a whole mesh: the operator's own way in, and no way in by the public gateway."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from scoreboard.cli.operator import TOKEN_VARIABLE, URL_VARIABLE, open_admin
from scoreboard.client import to_error
from scoreboard.local import accounts, state
from scoreboard.local.trouble import Trouble
from scoreboard.v1 import admin_pb2 as pb
from scoreboard.v1 import admin_pb2_grpc, score_pb2, score_pb2_grpc
from scoreboard.v1.signing import client_nonce
from tests.e2e.protocols import Protocols
from tests.meshes import Mesh

METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["AdminService"].methods]


async def bearer_of(running: Mesh) -> tuple[tuple[str, str], ...]:
    async with open_admin(running.data) as (_, bearer):
        return bearer


async def reason_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call if hasattr(call, "__aiter__") else _once(call):
            pass
    return caught.value.code(), to_error(caught.value).reason


async def _once(call: Any) -> Any:
    yield await call


async def test_the_command_line_has_its_own_way_in(running: Mesh) -> None:
    async with open_admin(running.data) as (admin, bearer):
        listed = await admin.ListDeadLetters(pb.ListDeadLettersRequest(), metadata=bearer, timeout=10)
    assert listed.total == 0
    with pytest.raises(Trouble, match="There is no player 'nobody'"):
        async with open_admin(running.data) as (admin, bearer):
            await admin.GetUser(pb.GetUserRequest(user_id="nobody"), metadata=bearer, timeout=10)


async def test_another_deployment_is_operated_by_address_and_token(
    running: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = (await bearer_of(running))[0]
    monkeypatch.setenv(URL_VARIABLE, str(state.require(running.data).admin))
    with pytest.raises(Trouble, match=TOKEN_VARIABLE):
        await bearer_of(running)
    monkeypatch.setenv(TOKEN_VARIABLE, "x")
    with pytest.raises(Trouble, match="not valid here") as caught:
        async with open_admin(running.data / "elsewhere") as (admin, bearer):
            await admin.ListDeadLetters(pb.ListDeadLettersRequest(), metadata=bearer, timeout=10)
    assert TOKEN_VARIABLE in caught.value.cure
    monkeypatch.setenv(TOKEN_VARIABLE, token.removeprefix("Bearer "))
    async with open_admin(running.data / "elsewhere") as (admin, bearer):
        await admin.ListDeadLetters(pb.ListDeadLettersRequest(), metadata=bearer, timeout=10)
    monkeypatch.setenv(URL_VARIABLE, "127.0.0.1:1")
    with pytest.raises(Trouble, match="is no address"):
        await bearer_of(running)


@pytest.mark.parametrize("method", METHODS)
async def test_the_public_gateway_has_no_way_to_admin_service(running: Mesh, mesh: Protocols, method: str) -> None:
    bearer = await bearer_of(running)
    through = getattr(admin_pb2_grpc.AdminServiceStub(mesh.channel), method)
    request = getattr(pb, f"{method}Request")()
    assert await reason_of(through(request, metadata=bearer, timeout=10)) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "NOT_FOUND",
    )
    for path in (f"/scoreboard.v1.AdminService/{method}", f"/api/scoreboard.v1.AdminService/{method}"):
        for content_type in ("application/json", "application/grpc-web+proto"):
            headers = {"authorization": bearer[0][1], "content-type": content_type}
            answer = await mesh.http.post(path, content="{}", headers=headers)
            assert answer.status_code == 404, (path, content_type)


async def test_the_operators_client_reports_no_scores(running: Mesh, mesh: Protocols) -> None:
    bearer = await bearer_of(running)
    ports = state.require(running.data).ports
    update = score_pb2.UpdateScoreRequest(
        user_id=accounts.OPERATOR, action_id="win-round", nonce=client_nonce(0, bytes(10))
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['score_svc']}") as behind:
        for channel in (mesh.channel, behind):
            scores = score_pb2_grpc.ScoreServiceStub(channel)
            calls = (
                scores.UpdateScore(update, metadata=bearer, timeout=10),
                scores.UpdateScores(score_pb2.UpdateScoresRequest(updates=[update]), metadata=bearer, timeout=10),
            )
            for call in calls:
                assert await reason_of(call) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
