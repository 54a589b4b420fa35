"""The gateway in front of `tests.e2e.refusing`, and the whole mesh as a new user starts it."""

from __future__ import annotations

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
from scoreboard.local.ports import Ports
from scoreboard.local.program import Program, Running
from tests import servers
from tests.e2e.protocols import Protocols
from tests.e2e.refusing import ISSUER
from tests.meshes import Mesh, new_mesh
from tests.services import TREE

UPDATES_PER_MINUTE = 2  # the shield lets six times that through: 12
LOGINS_PER_MINUTE = 1  # a burst of 3
KID = "test-key"


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
    grpc_port, http_port = ports.take("refusing"), ports.take("refusing-http")
    names = dict.fromkeys(("auth_svc", "score_svc", "leaderboard_svc", "stream_svc"), grpc_port)
    https = dict.fromkeys(("auth_svc-http", "stream_svc-http"), http_port)
    return {"gateway": ports.take("envoy"), "envoy-admin": ports.take("envoy-admin"), **names, **https}


@pytest.fixture(scope="session")
async def guarded(servers_folder: Path) -> AsyncIterator[Gateway]:
    """The gateway of this run, before `tests.e2e.refusing`."""
    ports, signer, folder = Ports(), Signer(), servers_folder / "gateway"
    folder.mkdir()
    numbers = _envoy_ports(ports)
    services = Program(
        name="refusing",
        argv=(sys.executable, "-m", "tests.e2e.refusing", str(numbers["score_svc"]), str(numbers["auth_svc-http"])),
        port=numbers["score_svc"],
        is_ready=partial(probe.grpc_health, numbers["score_svc"], "scoreboard.v1.ScoreService"),
        environment={"TEST_JWKS": signer.jwks},
        folder=TREE,
    )
    text = gateway.render(numbers, UPDATES_PER_MINUTE, LOGINS_PER_MINUTE, issuer=ISSUER, origins=("https://game.test",))
    envoy = local_servers.envoy(folder, text, numbers["gateway"], numbers["envoy-admin"])
    target = f"127.0.0.1:{numbers['gateway']}"
    ports.release("refusing-http")
    running = await servers.run(services, ports, folder)
    ports.release("envoy-admin")
    front = await servers.run(envoy, ports, folder)
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://{target}", timeout=20) as http,
            grpc.aio.insecure_channel(target) as channel,
        ):
            yield Gateway(f"http://{target}", target, signer, running, folder / "envoy.log", http, channel)
    finally:
        await front.kill()
        await running.kill()


@pytest.fixture(scope="session")
async def running(servers_folder: Path) -> AsyncIterator[Mesh]:
    """The whole mesh, started and stopped as a user does; its tests each bring players of their own."""
    own = new_mesh(servers_folder / "mesh")
    await own.up("--logins-per-minute", "1000")
    try:
        yield own
    finally:
        done = await own.down()
        assert done.code == 0, done.err


@pytest.fixture(scope="session")
async def mesh(running: Mesh) -> AsyncIterator[Protocols]:
    """The whole mesh, by its protocols."""
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=20) as http,
        grpc.aio.insecure_channel(running.url.removeprefix("http://")) as channel,
    ):
        yield Protocols(http, channel, state.require(running.data).ports)
