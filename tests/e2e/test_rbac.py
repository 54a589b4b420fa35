"""docs/rbac.md, cell by cell: who may call what, through the real gateway and on AdminService's own listener."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from scoreboard.cli.operator import open_admin
from scoreboard.client import to_error
from scoreboard.local import state
from scoreboard.v1 import admin_pb2, auth_pb2, leaderboard_pb2, score_pb2, stream_pb2
from scripts import rbac
from tests.e2e.commands import told
from tests.e2e.players import sign_up
from tests.e2e.protocols import Protocols
from tests.meshes import Mesh

TREE = Path(__file__).resolve().parents[2]
TABLE = rbac.read((TREE / "docs" / "rbac.md").read_text())
SERVICES = {
    service.name: service
    for module in (auth_pb2, score_pb2, leaderboard_pb2, stream_pb2, admin_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}
RPCS = {f"{name}.{method.name}": method for name, service in SERVICES.items() for method in service.methods}
#: Only these mean that somebody may not call; another answer to an empty request comes from behind that.
NOT_ALLOWED = ("TOKEN_MISSING", "SCOPE_MISSING")
#: Where an empty request would do something.
FIELDS: dict[str, dict[str, Any]] = {"RebuildBoard": {"board": "no-such"}}

Tokens = dict[str, str]


def test_the_table_has_every_rpc_of_the_protos() -> None:
    assert {name: set(rows) for name, rows in TABLE.items()} == {
        name: {method.name for method in service.methods} for name, service in SERVICES.items()
    }
    assert all(set(cells) == set(rbac.CALLERS) for rows in TABLE.values() for cells in rows.values())


@pytest.mark.parametrize("service", SERVICES)
def test_an_rpc_without_a_rule_stops_the_generation(service: str) -> None:
    files = descriptor_pb2.FileDescriptorSet()
    for module in (auth_pb2, score_pb2, leaderboard_pb2, stream_pb2, admin_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    assert rbac.page(files, rbac.rules()) == (TREE / "docs" / "rbac.md").read_text()
    (proto,) = (one for file in files.file for one in file.service if one.name == service)
    proto.method.add(name="Surprise")
    with pytest.raises(ValueError, match=f"{service}: .* Surprise"):
        rbac.page(files, rbac.rules())


def test_what_admin_proto_says_of_roles_is_the_rule() -> None:
    text = (TREE / "proto/scoreboard/v1/admin.proto").read_text()
    said = dict(reversed(pair) for pair in re.findall(r"Role (\w+)\.\n\s+rpc (\w+)\(", text))
    least = {
        rpc: next(who for who in ("moderator", "operator", "admin") if cells[who] == rbac.YES)
        for rpc, cells in TABLE["AdminService"].items()
    }
    assert said == least


@pytest.fixture(scope="module")
async def tokens(running: Mesh, mesh: Protocols) -> Tokens:
    """An access token of each caller of the table."""
    made = {rbac.NOBODY: "", "player": (await sign_up(mesh)).session.access_token}
    for role in ("moderator", "operator", "admin"):
        name = f"{role}-{secrets.token_hex(4)}"
        account = await told(running, "admin", "create", name, "--role", role, "--generate")
        login = {"username": name, "password": account["password"]}
        made[role] = (await mesh.http.post("/api/auth/login", json=login)).json()["access_token"]
    client = await told(running, "clients", "create", f"server-{secrets.token_hex(4)}")
    made["game_server"] = await _client_token(mesh.http, client["client_id"], client["client_secret"])
    async with open_admin(running.data) as (_, bearer):
        made["scoreboard-cli"] = str(bearer[0][1]).removeprefix("Bearer ")
    return made


async def _client_token(http: httpx.AsyncClient, name: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    return str((await http.post("/oauth2/token", data=form)).json()["access_token"])


@pytest.fixture(scope="module")
async def admin(running: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    """AdminService's own listener."""
    target = str(state.require(running.data).admin).removeprefix("http://")
    async with grpc.aio.insecure_channel(target) as channel:
        yield channel


async def answer_of(channel: grpc.aio.Channel, method: MethodDescriptor, token: str) -> str:
    """Returns the reason of a refusal of the call itself, or YES."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kinds = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": GetMessageClass(method.output_type).FromString,
    }
    request = GetMessageClass(method.input_type)(**FIELDS.get(method.name, {}))
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        if method.server_streaming:
            stream: Any = channel.unary_stream(path, **kinds)(request, metadata=metadata, timeout=30)
            async for _ in stream:
                stream.cancel()
                break
        else:
            unary: Any = channel.unary_unary(path, **kinds)
            await unary(request, metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        reason = to_error(error).reason
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return "there is no such call here"
        if reason in NOT_ALLOWED:
            return reason
    return rbac.YES


@pytest.mark.parametrize("name", RPCS)
async def test_each_cell_of_the_table_is_true(
    mesh: Protocols, admin: grpc.aio.Channel, tokens: Tokens, name: str
) -> None:
    service, _, rpc = name.partition(".")
    channel = admin if service == "AdminService" else mesh.channel
    found = {who: await answer_of(channel, RPCS[name], tokens[who]) for who in rbac.CALLERS}
    assert found == TABLE[service][rpc]
