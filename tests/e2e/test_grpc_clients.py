"""Health and reflection of every service, by the clients that others would use (PROMISES.md, row 39).

Two for each protocol: grpcio's own (grpc_health, grpc_reflection) and `buf curl`, which is written in Go on other
libraries; uv.lock has their versions.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from scoreboard.local import state
from scoreboard.v1 import admin_pb2, auth_pb2, leaderboard_pb2, score_pb2, stream_pb2
from tests.meshes import Mesh

BUF = Path(sys.executable).parent / "buf"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
OURS = [module.DESCRIPTOR for module in (admin_pb2, auth_pb2, score_pb2, leaderboard_pb2, stream_pb2)]
SERVICES: dict[str, ServiceDescriptor] = {
    service.full_name: service for file in OURS for service in file.services_by_name.values()
}
READINESS = {f"{name.rpartition('.')[2].removesuffix('Service').lower()}_svc": name for name in SERVICES}
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.promise(row=39)


def _targets(mesh: Mesh) -> dict[str, tuple[str, str]]:
    """Returns the address and the name of readiness of each process of ours, by the process' name."""
    ports = {one.name: one.port for one in state.require(mesh.data).processes}
    found = {name: (f"127.0.0.1:{port}", READINESS[name]) for name, port in ports.items() if name.endswith("_svc")}
    workers = {name: (f"127.0.0.1:{port}", "worker") for name, port in ports.items() if name.startswith("worker")}
    assert {"admin_svc", "auth_svc", "score_svc", "leaderboard_svc", "stream_svc"} <= found.keys()
    assert workers
    return found | workers


async def test_health_is_told_by_check_and_watch(running: Mesh) -> None:
    for name, (target, readiness) in _targets(running).items():
        async with grpc.aio.insecure_channel(target) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for service in ("", readiness):
                request = health_pb2.HealthCheckRequest(service=service)
                assert (await health.Check(request)).status == SERVING, name
                watch = health.Watch(request)
                assert (await watch.read()).status == SERVING, name
                watch.cancel()
            unknown = health_pb2.HealthCheckRequest(service="no.such.Service")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health.Check(unknown)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            watch = health.Watch(unknown)  # a service may come later, so that watching it is no error
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            watch.cancel()


def _reflected(target: str) -> dict[str, ServiceDescriptor]:
    """Returns what a server says of itself, by nothing but its answers."""
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        return {name: pool.FindServiceByName(name) for name in database.get_services()}


def _shape(service: ServiceDescriptor) -> dict[str, tuple[str, str, bool]]:
    return {
        method.name: (method.input_type.full_name, method.output_type.full_name, bool(method.server_streaming))
        for method in service.methods
    }


async def test_reflection_describes_each_service_as_the_contract_does(running: Mesh) -> None:
    for target, readiness in _targets(running).values():
        reflected = await asyncio.to_thread(_reflected, target)
        mine = {name for name in SERVICES if name == readiness}
        assert reflected.keys() == {HEALTH, REFLECTION} | mine
        for name in mine:
            assert _shape(reflected[name]) == _shape(SERVICES[name])


async def test_a_call_can_be_made_by_reflection_alone(running: Mesh) -> None:
    target, name = _targets(running)["leaderboard_svc"]
    method = (await asyncio.to_thread(_reflected, target))[name].methods_by_name["GetLeaderboard"]
    request, answer = GetMessageClass(method.input_type)(limit=3), GetMessageClass(method.output_type)
    async with grpc.aio.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(f"/{name}/{method.name}", None, answer.FromString)
        assert (await call(request.SerializeToString())).board == "all"


async def _buf_curl(target: str, path: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(BUF),
        *("curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments, f"http://{target}{path}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_a_client_of_another_make_finds_its_way(running: Mesh) -> None:
    for target, readiness in _targets(running).values():
        listed = (await _buf_curl(target, "", "--list-services")).split()
        assert set(listed) == {HEALTH, REFLECTION} | (SERVICES.keys() & {readiness})
        said = await _buf_curl(target, f"/{HEALTH}/Check", "--data", json.dumps({"service": readiness}))
        assert json.loads(said) == {"status": "SERVING"}
    target, name = _targets(running)["leaderboard_svc"]
    said = await _buf_curl(target, f"/{name}/ListBoards", "--data", "{}")
    assert [board["name"] for board in json.loads(said)["boards"]] == ["all", "daily", "weekly"]
