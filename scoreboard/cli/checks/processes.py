"""Looks at the processes of a mesh, at its gateway, and at the keys that tokens are signed with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import asyncpg

from mesh.postgres import AWAY
from mesh.sql import load
from scoreboard.cli.checks.finding import Finding, failed, ok, warning
from scoreboard.local import monitoring, nginx, probe, secrets, services, state
from scoreboard.local.services import Limits, Wiring
from scoreboard.local.state import MeshState
from scoreboard.local.trouble import Trouble

_SQL = load(__package__, "postgres.sql")
KEY_LIFE_S = 31 * 86_400  # auth_svc makes a new one after 30 days, unless it is told otherwise
TIMEOUT_S = 5.0

IsReady = Callable[[], Awaitable[bool]]


async def check(data: Path, mesh: MeshState) -> list[Finding]:
    """Looks at every process that the mesh should have, at the gateway and at the keys."""
    probes = await asyncio.to_thread(_probes, data, mesh)
    alive = {process.name: process.pid for process in mesh.running()}
    answers = await asyncio.gather(*(_answers(is_ready) for is_ready in probes.values()))
    return [
        *(process(name, alive.get(name), is_ready) for name, is_ready in zip(probes, answers, strict=True)),
        await _gateway(mesh),
        await _keys(data, mesh),
    ]


def process(name: str, pid: int | None, is_ready: bool) -> Finding:
    """Judges one process. pid: None when it does not run."""
    log = f"Its log is DIR/logs/{name}.log."
    if pid is None:
        return failed(name, "does not run", f"`scoreboard up` starts it again after a pause of up to 5 s. {log}")
    if not is_ready:
        return failed(name, f"runs (pid {pid}) and is not ready", f"A server that it needs may be away. {log}")
    return ok(name, f"runs (pid {pid}) and is ready")


def _probes(data: Path, mesh: MeshState) -> Mapping[str, IsReady]:
    if not mesh.ports.keys() >= {"nginx", *services.port_names()}:
        raise Trouble("The mesh was started by another version.", "Run scoreboard down, then up.")
    wiring = Wiring(mesh.ports, secrets.load(data), mesh.gateway, secrets.master_keys_file(data), Limits(), data)
    return {
        "postgres": partial(probe.postgres, state.postgres_url(data)),
        "redis": partial(probe.redis, state.redis_url(data)),
        "rabbitmq": partial(probe.amqp, mesh.ports["rabbitmq"]),
        "nginx": partial(probe.http, f"http://127.0.0.1:{mesh.ports['nginx']}{nginx.ALIVE}"),
        "envoy": partial(probe.listens, mesh.ports["gateway"]),
        **{program.name: program.is_ready for program in services.programs(wiring)},
        **{
            process.name: monitoring.is_ready(process.name, process.port)
            for process in mesh.processes
            if process.name in monitoring.READY_PATHS
        },
    }


async def _answers(is_ready: IsReady) -> bool:
    # Twice: on a machine that is busy with the other checks an answer may come too late once.
    return await is_ready() or await is_ready()


async def _gateway(mesh: MeshState) -> Finding:
    serves = await probe.envoy_serves(f"http://127.0.0.1:{mesh.ports['envoy-admin']}")
    reads = await probe.http(f"{mesh.gateway}/api/scores/leaderboard?limit=1")
    return gateway(mesh.gateway, serves=serves, reads=reads)


def gateway(url: str, *, serves: bool, reads: bool) -> Finding:
    """Judges the gateway. serves: every service behind it is alive for it; reads: a board came through it."""
    if not reads:
        return failed("gateway", f"{url} brings no board", "See DIR/logs/envoy.log and leaderboard_svc's beside it.")
    if not serves:
        cure = "It looks every half second; when this stays, see the failed processes above and DIR/logs/envoy.log."
        return failed("gateway", f"{url} does not reach every service", cure)
    return ok("gateway", f"{url} reaches every service")


async def _keys(data: Path, mesh: MeshState) -> Finding:
    text = await probe.http_text(f"{mesh.gateway}/.well-known/jwks.json")
    published = None if text is None else [str(key["kid"]) for key in json.loads(text)["keys"]]
    try:
        connection = await asyncpg.connect(state.postgres_url(data), timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            row = await connection.fetchrow(_SQL["signing_key"])
        finally:
            connection.terminate()
    except (*AWAY, asyncpg.PostgresError) as error:
        return failed(
            "token keys", f"cannot be told: Postgres does not answer ({type(error).__name__})", "See postgres."
        )
    return keys(published, row["kid"], row["age_s"]) if row else keys(published, None, 0.0)


def keys(published: Sequence[str] | None, signing: str | None, age_s: float) -> Finding:
    """Judges the keys of tokens. published: those of the key set, None when it cannot be had; signing: that signs."""
    check, log = "token keys", "See DIR/logs/auth_svc.log."
    if published is None:
        return failed(check, "the key set cannot be had through the gateway", log)
    if signing is None:
        return failed(check, "no key signs tokens", f"auth_svc makes one when it starts. {log}")
    if signing not in published:
        return failed(check, "the key that signs is not in the key set", f"Every new token is refused. {log}")
    found = f"{len(published)} published, the signing one {age_s / 86_400:.0f} days old"
    if age_s > KEY_LIFE_S:
        return warning(check, found, f"auth_svc should have made another after 30 days. {log}")
    return ok(check, found)
