"""The gateway in front of `tests.e2e.refusing`, and the whole mesh as a new user starts it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scoreboard.local import gateway, probe, state
from scoreboard.local import servers as local_servers
from scoreboard.local.nginx import nginx
from scoreboard.local.ports import Ports
from scoreboard.local.program import Program, Running
from scoreboard.local.services import BEHIND_GATEWAY
from tests import servers
from tests.e2e.protocols import Protocols
from tests.e2e.refusing import ISSUER
from tests.hop import HOP
from tests.jwks import publishing
from tests.meshes import Mesh, new_mesh
from tests.services import TREE
from tests.studios import Studio

UPDATES_PER_MINUTE = 2  # the shield lets six times that through: 12
LOGINS_PER_MINUTE = 1  # a burst of 3
KID = "test-key"
#: The gateway's patience with slow clients, and what it is here, so that no test waits for so long.
SHORTER = {"request_headers_timeout: 10s": "request_headers_timeout: 1s", "request_timeout: 20s": "request_timeout: 2s"}


class Signer:
    """Makes access tokens as auth_svc does, and ones that nobody should take."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        self.jwks = json.dumps({"keys": [{**public, "kid": KID, "alg": "ES256", "use": "sig"}]})

    def token(self, *, head: dict[str, Any] | None = None, key: Any = None, alg: str = "ES256", **claims: Any) -> str:
        """Returns a good token of a fresh player, but for what is given."""
        now = time.time()
        body = {
            "iss": ISSUER,
            "aud": "scoreboard",
            "sub": f"u_{uuid.uuid4().hex[:8]}",
            "sid": str(uuid.uuid4()),
            "skid": 1,
            "scope": "update:score read:leaderboard",
            "role": "player",
            "iat": now,
            "exp": now + 600,
            "jti": uuid.uuid4().hex,
        } | claims
        headers = {"kid": KID, "typ": "at+jwt", **(head or {})}
        return jwt.encode(body, self.key if key is None else key, algorithm=alg, headers=headers)


@dataclass
class Gateway:
    """Envoy with the real configuration before services that answer as they are asked to."""

    url: str
    target: str
    signer: Signer
    services: Running
    log: Path  # the access log, and what Envoy itself says
    http: httpx.AsyncClient
    channel: grpc.aio.Channel

    def bearer(self, **options: Any) -> dict[str, str]:
        """Returns the headers of a fresh player."""
        return {"authorization": f"Bearer {self.signer.token(**options)}"}


def _envoy_ports(ports: Ports) -> dict[str, int]:
    grpc_port, http_port, gateway_port = (ports.take(f"refusing{suffix}") for suffix in ("", "-http", "-gateway"))
    names = dict.fromkeys(BEHIND_GATEWAY, grpc_port)
    names |= dict.fromkeys((f"{name}-gateway" for name in BEHIND_GATEWAY), gateway_port)
    https = dict.fromkeys(("auth_svc-http", "stream_svc-http"), http_port)
    own = {name: ports.take(name) for name in ("nginx", "envoy-admin")}
    return {"gateway": ports.take("envoy"), **own, **names, **https}


@pytest.fixture(scope="session")
async def guarded(servers_folder: Path) -> AsyncIterator[Gateway]:
    """The gateway of this run, before `tests.e2e.refusing`."""
    ports, signer, folder = Ports(), Signer(), servers_folder / "gateway"
    folder.mkdir()
    numbers = _envoy_ports(ports)
    arguments = [numbers[name] for name in ("score_svc", "auth_svc-http", "score_svc-gateway")]
    services = Program(
        name="refusing",
        argv=(sys.executable, "-m", "tests.e2e.refusing", *map(str, arguments)),
        port=numbers["score_svc"],
        is_ready=partial(probe.grpc_health, numbers["score_svc"], "scoreboard.v1.ScoreService"),
        environment={"TEST_JWKS": signer.jwks},
        folder=TREE,
    )
    text = gateway.render(
        numbers, UPDATES_PER_MINUTE, LOGINS_PER_MINUTE, hop=HOP, issuer=ISSUER, origins=("https://game.test",)
    )
    for patience, shorter in SHORTER.items():
        assert text.count(patience) == 1
        text = text.replace(patience, shorter)
    envoy = local_servers.envoy(folder, text, numbers["gateway"], numbers["envoy-admin"])
    target = f"127.0.0.1:{numbers['gateway']}"
    ports.release("refusing-http")
    ports.release("refusing-gateway")
    running = await servers.run(services, ports, folder)
    pages = await servers.run(nginx(folder, numbers["nginx"]), ports, folder)
    ports.release("envoy-admin")
    front = await servers.run(envoy, ports, folder)
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://{target}", timeout=20) as http,
            grpc.aio.insecure_channel(target) as channel,
        ):
            yield Gateway(f"http://{target}", target, signer, running, folder / "envoy.log", http, channel)
    finally:
        await asyncio.gather(front.kill(), pages.kill(), running.kill())


@pytest.fixture(scope="session")
async def studio() -> AsyncIterator[Studio]:
    """An identity provider whom the whole mesh believes."""
    made = Studio("https://id.studio.test", ec.generate_private_key(ec.SECP256R1()))
    async with publishing(made.published):
        yield made


@pytest.fixture(scope="session")
async def running(servers_folder: Path, studio: Studio) -> AsyncIterator[Mesh]:
    """The whole mesh, started as a user does; its tests each bring players of their own."""
    own = new_mesh(servers_folder / "mesh")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SCOREBOARD_AUTH_EXCHANGE_ISSUERS", json.dumps([studio.setting]))
        await own.up("--logins-per-minute", "1000", "--hop", HOP, "--with-monitoring")
    try:
        yield own
    finally:
        await own.kill()


@pytest.fixture
async def breakable(running: Mesh) -> AsyncIterator[Mesh]:
    """The whole mesh, for a test that kills or freezes a part of it."""
    yield running
    await running.until_whole()


@pytest.fixture(scope="session")
async def mesh(running: Mesh) -> AsyncIterator[Protocols]:
    """The whole mesh, by its protocols."""
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=20) as http,
        grpc.aio.insecure_channel(running.url.removeprefix("http://")) as channel,
    ):
        yield Protocols(http, channel, state.require(running.data).ports)
