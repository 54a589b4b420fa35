"""AdminService's listener with mutual TLS: real certificates, who gets in, and that renewed ones are taken up."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from admin_svc.settings import AdminSettings
from mesh.tls import TlsFiles
from scoreboard.cli.operator import CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, open_admin
from scoreboard.local import probe
from scoreboard.local.ports import Ports
from scoreboard.local.program import Program, Running
from scoreboard.local.trouble import Trouble
from scoreboard.v1 import admin_pb2 as pb
from tests import servers
from tests.certificates import Authority, Certificate
from tests.servers import Database, RedisServer, Vhost
from tests.services import TREE
from tests.waiting import eventually

NAME = "admin.test"
FOR_NAME = (("grpc.ssl_target_name_override", NAME),)


@dataclass(frozen=True)
class Listener:
    """A running admin_svc; the files that it was told of; the authorities of both sides."""

    running: Running
    port: int
    health_port: int
    files: TlsFiles
    servers_ca: Authority
    clients_ca: Authority

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def credentials(self, ca: Path, shown: Certificate | None) -> grpc.ChannelCredentials:
        """Returns a client's, which trusts `ca` and shows that certificate."""
        key, chain = (shown.key.read_bytes(), shown.certificate.read_bytes()) if shown is not None else (None, None)
        return grpc.ssl_channel_credentials(ca.read_bytes(), key, chain)

    async def answer(self, credentials: grpc.ChannelCredentials | None) -> str:
        """Returns the health that a client learns, or the code of its failure."""
        if credentials is None:
            channel = grpc.aio.insecure_channel(self.target)
        else:
            channel = grpc.aio.secure_channel(self.target, credentials, options=FOR_NAME)
        async with channel:
            try:
                request = health_pb2.HealthCheckRequest()
                stub: Any = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(request, timeout=10)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@asynccontextmanager
async def listening(database: Database, view: RedisServer, vhost: Vhost, folder: Path) -> AsyncIterator[Listener]:
    ports = Ports()
    port, health_port, jwks_port = (ports.take(name) for name in ("admin_svc", "health", "jwks"))
    servers_ca, clients_ca = Authority(folder, "servers"), Authority(folder, "clients")
    own = servers_ca.issue("own", NAME)
    files = TlsFiles(own.certificate, own.key, clients_ca.file)
    environment = {
        "SCOREBOARD_DRAIN_S": "0",
        "SCOREBOARD_POSTGRES_URL": database.url("admin_svc"),
        "SCOREBOARD_REDIS_URL": view.url("admin_svc"),
        "SCOREBOARD_RABBITMQ_URL": vhost.url("admin_svc"),
        "SCOREBOARD_JWKS_URL": f"http://127.0.0.1:{jwks_port}/",  # nobody is there, and nobody brings a token
        "SCOREBOARD_ISSUER": "http://gateway.test",
        "SCOREBOARD_ADMIN_PORT": str(port),
        "SCOREBOARD_ADMIN_HEALTH_PORT": str(health_port),
        "SCOREBOARD_ADMIN_TLS_CERT_FILE": str(files.certificate),
        "SCOREBOARD_ADMIN_TLS_KEY_FILE": str(files.key),
        "SCOREBOARD_ADMIN_TLS_CLIENT_CA_FILE": str(files.client_ca),
    }
    program = Program(
        name="admin_svc",
        argv=(sys.executable, "-m", "admin_svc"),
        port=port,
        is_ready=lambda: probe.grpc_health(health_port, ""),
        environment=environment,
        folder=TREE,
    )
    ports.release("health")
    running = await servers.run(program, ports, folder)
    try:
        yield Listener(running, port, health_port, files, servers_ca, clients_ca)
    finally:
        await running.stop()


@pytest.fixture
async def listener(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path
) -> AsyncIterator[Listener]:
    async with listening(database, redis_view, vhost, tmp_path) as made:
        yield made


async def test_only_a_client_of_the_authority_gets_in(listener: Listener) -> None:
    ours = listener.clients_ca.issue("operator", "operator.test")
    strangers = Authority(listener.files.key.parent, "strangers").issue("stranger", "operator.test")
    of_the_servers = listener.servers_ca.issue("server-too", "operator.test")
    ca = listener.servers_ca.file
    assert await listener.answer(listener.credentials(ca, ours)) == "SERVING"
    for shown in (None, strangers, of_the_servers):
        assert await listener.answer(listener.credentials(ca, shown)) == "UNAVAILABLE"
    assert await listener.answer(None) == "UNAVAILABLE"  # plain
    # Nor does a client talk to a server that its own authority does not vouch for.
    assert await listener.answer(listener.credentials(listener.clients_ca.file, ours)) == "UNAVAILABLE"


async def test_probes_learn_health_alone_without_tls(listener: Listener) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.health_port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        call: Any = channel.unary_unary("/scoreboard.v1.AdminService/ListDeadLetters")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_renewed_certificates_are_taken_up_without_a_restart(listener: Listener) -> None:
    ours = listener.clients_ca.issue("operator", "operator.test")
    new_ca = Authority(listener.files.key.parent, "new-servers")
    new = new_ca.issue("new-own", NAME)
    assert await listener.answer(listener.credentials(new_ca.file, ours)) == "UNAVAILABLE"
    os.replace(new.key, listener.files.key)  # a moment without a pair: the old one stays
    assert await listener.answer(listener.credentials(listener.servers_ca.file, ours)) == "SERVING"
    os.replace(new.certificate, listener.files.certificate)

    async def is_taken_up() -> bool:
        return await listener.answer(listener.credentials(new_ca.file, ours)) == "SERVING"

    await eventually(is_taken_up, 20, "the new certificate")


async def test_the_command_line_shows_its_certificate(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = listener.clients_ca.issue("operator", "operator.test")
    there = listener.servers_ca.issue("by-address", NAME, "127.0.0.1")
    os.replace(there.key, listener.files.key)
    os.replace(there.certificate, listener.files.certificate)
    monkeypatch.setenv(URL_VARIABLE, f"https://{listener.target}")
    monkeypatch.setenv(TOKEN_VARIABLE, secrets.token_hex(8))
    monkeypatch.setenv(CA_VARIABLE, str(listener.servers_ca.file))

    async def said() -> str:
        with pytest.raises(Trouble) as caught:
            async with open_admin(Path("nowhere")) as (admin, bearer):
                await admin.ListDeadLetters(pb.ListDeadLettersRequest(), metadata=bearer, timeout=10)
        return str(caught.value)

    refused = await said()
    monkeypatch.setenv(CERT_VARIABLE, str(ours.certificate))
    assert KEY_VARIABLE in await said()
    monkeypatch.setenv(KEY_VARIABLE, str(ours.key))
    let_in = await said()
    assert "The access token is not valid here" in let_in  # it is let in, and its token is looked at
    assert "The access token" not in refused
    monkeypatch.setenv(CA_VARIABLE, str(ours.key.parent / "missing.pem"))
    assert "cannot be read" in await said()


def test_half_of_the_settings_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    urls = {"postgres_url": "postgresql://a:b@h:1/d", "redis_url": "redis://a:b@h:1/0"}
    rest = {"rabbitmq_url": "amqp://a:b@h:1/v", "jwks_url": "http://x", "issuer": "http://x", "admin_port": 1}
    assert AdminSettings(**urls, **rest).tls is None  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="come together"):
        AdminSettings(**urls, **rest, admin_tls_cert_file=tmp_path / "x")  # type: ignore[arg-type]


def test_a_key_of_another_certificate_stops_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one", NAME), authority.issue("other", NAME)
    with pytest.raises(ValueError, match="is not the key of"):
        TlsFiles(one.certificate, other.key, authority.file).credentials()
    TlsFiles(one.certificate, one.key, authority.file).credentials()
