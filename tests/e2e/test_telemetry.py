"""Traces and logs of a whole mesh: one trace from the gateway to the push, and lines that an index takes.

The mesh is this file's own, for its tests break things; when they are over, all that its processes logged is looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
import websockets
from httpx_sse import ServerSentEvent, aconnect_sse

from scoreboard.local import accounts, services, state
from scoreboard.local import secrets as local_secrets
from scoreboard.local.services import Limits, Wiring
from scoreboard.v1 import auth_pb2
from tests import log_lines
from tests.collector import Collector, Seen, collecting
from tests.e2e.players import PASSWORD, Player, sign_up
from tests.e2e.protocols import Protocols, Said
from tests.hop import HOP
from tests.meshes import Mesh, new_mesh
from tests.services import TREE
from tests.waiting import SCALE, eventually

GUESS = f"wrong-{secrets.token_hex(8)}"
FOREIGN = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"  # a trace context that a client brings
UPDATE = "scoreboard.v1.ScoreService/UpdateScore"
URLS = {"grpc": f"/{UPDATE}", "json": "/api/scores/update"}
#: Whose logs are ours. The others are servers that others made, with forms of their own.
OURS = ("auth_svc", "score_svc", "leaderboard_svc", "stream_svc", "admin_svc", "worker-1", "worker-2", "envoy")


@dataclass
class World:
    """A mesh whose every call is traced, and what must never be told by its logs and spans."""

    mesh: Mesh
    collector: Collector
    protocols: Protocols
    secrets: set[str] = field(default_factory=lambda: {PASSWORD, GUESS})

    async def player(self) -> Player:
        """A new player, whose secrets are to be kept."""
        player = await sign_up(self.protocols)
        session = player.session
        self.secrets |= {player.name, session.access_token, session.refresh_token, session.signing_key}
        return player

    async def update(self, protocol: str, player: Player) -> Said:
        """Sends an update, with a trace context of the client's own."""
        request = player.update()
        headers = player.signed(request)
        self.secrets |= {request.nonce, headers["x-signature"]}
        return await self.protocols.call(protocol, "UpdateScore", request, headers | {"traceparent": FOREIGN})

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What a process has logged so far, each line checked."""
        return list(log_lines.lines(self.mesh.data / "logs" / f"{name}.log"))

    async def logged(self, name: str, **fields: object) -> dict[str, Any]:
        """Waits for a line with these fields and returns the first."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines(name) if fields.items() <= line.items()]

        return (await eventually(found, 30, f"{fields} in the log of {name}"))[0]

    async def spans(self, **attributes: object) -> list[Seen]:
        """Waits for spans with these attributes and returns them."""

        def found() -> list[Seen]:
            return [seen for seen in self.collector.spans if attributes.items() <= seen.attributes.items()]

        return await eventually(found, 30, f"a span with {attributes}")


@pytest.fixture(scope="module")
async def world(servers_folder: Path) -> AsyncIterator[World]:
    mesh = new_mesh(servers_folder / "telemetry")
    with collecting() as collector:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SCOREBOARD_TRACES_ENDPOINT", collector.endpoint)
            environment.setenv("SCOREBOARD_TRACES_RATIO", "1")
            await mesh.up("--logins-per-minute", "1000", "--hop", HOP)
        try:
            async with (
                httpx.AsyncClient(base_url=mesh.url, timeout=20 * SCALE) as http,
                grpc.aio.insecure_channel(mesh.url.removeprefix("http://")) as channel,
            ):
                made = World(mesh, collector, Protocols(http, channel, state.require(mesh.data).ports))
                yield made
            await mesh.down()
            _look_at_all(made)
        finally:
            await mesh.kill()


def _look_at_all(world: World) -> None:
    """Every line of every process of ours, and every span: no secret of the tests or the mesh."""
    for name in OURS:
        events = {line["event"] for line in world.lines(name)}
        assert events >= ({"request"} if name == "envoy" else {"serving", "readiness", "resources", "draining"}), name
    kept = json.loads((world.mesh.data / "secrets.json").read_text())
    keys = json.loads((world.mesh.data / "master-keys.json").read_text())["keys"]
    passwords = {each for server in ("postgres", "redis", "rabbitmq") for each in kept[server].values()}
    unsaid = world.secrets | passwords | {kept["erlang_cookie"], kept["operator"], *keys.values()}
    assert min(map(len, unsaid)) >= 8
    logs = {name: (world.mesh.data / "logs" / f"{name}.log").read_text() for name in OURS}
    logs["the spans"] = "".join(map(str, world.collector.spans))
    assert [(name, each) for name, text in logs.items() for each in unsaid if each in text] == []


# Traces


def _rows(event: ServerSentEvent) -> set[tuple[str, float]]:
    return {(row["username"], row["score"]) for row in json.loads(event.data)["leaderboard"]}


@pytest.fixture(scope="module")
async def traces(world: World) -> dict[str, list[Seen]]:
    """The spans of an update by each protocol, on their way from the gateway to somebody who watches."""

    async def is_in_redis() -> bool:
        answer = await world.protocols.http.get("/api/scores/leaderboard", params={"board": "all"})
        return answer.status_code == 200 and not answer.json()["stale"]

    await eventually(is_in_redis, 30, "the board in Redis")  # a rebuild shows an update without its trace
    player, begun_ns = await world.player(), time.time_ns()
    # Something must watch, or nothing is pushed.
    watched = {"board": "all", "limit": "100"}
    async with aconnect_sse(world.protocols.http, "GET", "/api/scores/stream", params=watched) as source:
        events = source.aiter_sse()
        await anext(events)
        for protocol in URLS:
            said = await world.update(protocol, player)
            assert said.message is not None, said
            async with asyncio.timeout(20 * SCALE):
                while (player.name, said.message.new_score) not in _rows(await anext(events)):
                    pass

    def whole() -> dict[str, list[Seen]]:
        new = [seen for seen in world.collector.spans if seen.span.start_time_unix_nano > begun_ns]
        gateways = {url: [seen for seen in new if seen.attributes.get("http.url") == url] for url in URLS.values()}
        assert all(len(seen) == 1 for seen in gateways.values()), gateways
        found = {name: world.collector.of(gateways[url][0].trace) for name, url in URLS.items()}
        names = {name: [each.span.name for each in seen] for name, seen in found.items()}
        assert all(len(seen) >= 5 for seen in found.values()), names
        return found

    return await eventually(whole, 60, "the whole traces")


@pytest.mark.parametrize("protocol", URLS)
async def test_an_update_is_one_trace_from_the_gateway_to_the_push(
    traces: dict[str, list[Seen]], protocol: str
) -> None:
    found = traces[protocol]
    chain = [(seen.service, seen.kind, seen.span.name) for seen in found]
    assert chain[0][:2] == ("envoy", "SERVER")
    assert chain[1:] == [
        ("score_svc", "SERVER", UPDATE),
        ("score_svc", "PRODUCER", "scoreboard.updates publish"),
        ("worker", "CONSUMER", "scoreboard.updates process"),
        ("stream_svc", "INTERNAL", "push board"),
    ]
    assert [seen.parent for seen in found] == ["", *(seen.id for seen in found[:-1])]
    assert found[-1].attributes["scoreboard.board"] == "all"
    assert found[0].trace not in FOREIGN  # a client does not decide what we keep


async def test_a_batch_is_a_trace_of_its_own_with_links_to_its_jobs(
    world: World, traces: dict[str, list[Seen]]
) -> None:
    _, _, published, processed, _ = traces["grpc"]

    def batch_of() -> list[Seen]:
        return [seen for seen in world.collector.spans if (published.trace, published.id) in seen.links]

    (batch,) = await eventually(batch_of, 30, "the batch's span")
    assert (batch.service, batch.span.name, batch.parent) == ("worker", "settle batch", "")
    assert processed.links == {(batch.trace, batch.id)}
    assert [event.name for event in batch.span.events] == ["committed", "shown", "answered"]
    assert batch.attributes["scoreboard.jobs"] == 1


async def test_the_gateways_log_names_the_trace(world: World, traces: dict[str, list[Seen]]) -> None:
    line = await world.logged("envoy", trace_id=traces["json"][0].trace)
    assert (line["event"], line["path"], line["status"]) == ("request", URLS["json"], 200)


async def test_a_refusal_is_told_in_its_span(world: World) -> None:
    player = await world.player()
    request = player.update("no-such-action")
    said = await world.protocols.call("grpc", "UpdateScore", request, player.signed(request))
    assert said.reason == "UNKNOWN_ACTION"
    (seen,) = await world.spans(**{"scoreboard.reason": "UNKNOWN_ACTION"})
    assert seen.span.status.code == 0  # the caller's fault, and none of the mesh


# Trouble. What its lines look like is checked where they are read, and once more when all is over.


async def test_a_bad_password_is_logged_by_the_players_id(world: World) -> None:
    player = await world.player()
    login = auth_pb2.LoginRequest(username=player.name, password=GUESS)
    assert (await world.protocols.call("json", "Login", login, {})).reason == "BAD_CREDENTIALS"
    assert await world.logged("auth_svc", event="login_refused", user_id=player.session.user_id)


async def test_a_refused_token_is_told_nowhere(world: World) -> None:
    player = await world.player()
    head, body, signature = player.session.access_token.split(".")
    broken = f"{head}.{body}.{signature[:-8]}AAAAAAAA"
    world.secrets |= {broken, body}
    answer = await world.protocols.http.get("/api/scores/updates/1", headers={"authorization": f"Bearer {broken}"})
    assert answer.status_code == 401
    for target in (f"/api/scores/leaderboard?access_token={broken}", f"/nowhere?token={broken}"):
        assert (await world.protocols.http.get(target)).status_code >= 400
    with pytest.raises(websockets.InvalidStatus):
        async with websockets.connect(f"{world.mesh.url.replace('http', 'ws', 1)}/ws/nowhere?access_token={broken}"):
            pass


async def test_odd_requests_are_lines_too(world: World) -> None:
    for path in (b"/" + b"x" * 12_000, b'/"quoted"\\', b"/caf\xc3\xa9", b"/\xff\xfe", b"/%00%ff", b"/last-odd-one"):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.mesh.port)
        writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(20 * SCALE):
            await reader.read()
        writer.close()
    assert await world.logged("envoy", path="/last-odd-one", status=404)


async def test_an_exception_in_a_handler_is_logged_and_answered_as_one_of_ours(world: World) -> None:
    player = await world.player()
    login = auth_pb2.LoginRequest(username=player.name, password=PASSWORD)
    owner = await asyncpg.connect(state.postgres_url(world.mesh.data, accounts.OWNER))
    try:
        await owner.execute("ALTER TABLE credentials RENAME TO credentials_gone")
        said = await world.protocols.call("grpc", "Login", login, {})
    finally:
        await owner.execute("ALTER TABLE credentials_gone RENAME TO credentials")
        await owner.close()
    assert said.reason == "INTERNAL"
    line = await world.logged("auth_svc", event="call_failed", error="UndefinedTableError")
    assert line["method"] == "/scoreboard.v1.AuthService/Login"
    failed = await world.spans(**{"scoreboard.reason": "INTERNAL"})
    assert [seen.span.status.code for seen in failed if seen.trace == line["trace_id"]] == [2]


async def test_what_dies_and_who_misses_it_is_told_in_whole_lines(world: World) -> None:
    for name in ("worker-1", "redis", "postgres"):
        pid = world.mesh.pid(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        def is_another(name: str = name, pid: int = pid) -> bool:
            return world.mesh.pid(name) not in (None, pid)

        await eventually(is_another, 60, f"another {name}")

    async def is_well() -> bool:
        said = await world.update("grpc", await world.player())
        return said.message is not None and said.message.new_score > 0

    await eventually(is_well, 60, "an update that counts")
    assert await world.logged("stream_svc", event="feed_away")
    assert await world.logged("stream_svc", event="feed_back")


async def ended(*command: str, **environment: str) -> tuple[int | None, list[dict[str, Any]]]:
    """Runs a process of ours to its end, and returns its code and its lines, each checked."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=TREE,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30 * SCALE)
    return process.returncode, [log_lines.check_line(line) for line in out.splitlines()]


async def test_a_process_with_wrong_settings_says_so_in_lines() -> None:
    given = {"SCOREBOARD_POSTGRES_URL": "postgresql://me:hush-hush@host:pa/ss", "SCOREBOARD_LOG_LEVEL": "LOUD"}
    found = await asyncio.gather(*(ended("-m", name, **given) for name in accounts.SERVICES))
    for name, (code, lines) in zip(accounts.SERVICES, found, strict=True):
        assert code == 2
        assert {(line["service"], line["event"]) for line in lines} == {(name, "setting_wrong")}
        said = [line["message"] for line in lines]
        assert any(message.startswith("SCOREBOARD_POSTGRES_URL: ") for message in said), said
        assert any(message.startswith("SCOREBOARD_LOG_LEVEL=LOUD: ") for message in said), said
        assert "hush" not in str(lines)


async def test_a_process_that_cannot_start_says_so_in_lines(world: World) -> None:
    data, mesh = world.mesh.data, state.require(world.mesh.data)
    master_keys = local_secrets.master_keys_file(data)
    wiring = Wiring(mesh.ports, local_secrets.load(data), mesh.gateway, master_keys, Limits(), data)
    program = next(each for each in services.programs(wiring) if each.name == "leaderboard_svc")
    code, lines = await ended(*program.argv[1:], **program.environment)  # whose ports are taken: the mesh has one
    assert code == 1
    assert lines[-1]["event"] == "start_failed"
