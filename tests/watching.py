"""stream_svc as a process on a real Postgres and a real Redis, boards that tests move, and clients of all kinds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import websockets
from aiohttp import web

from board import view
from board.entry import BoardKey, Entry, UserName
from board.read_redis import RedisReader
from scoreboard.local import gateway, probe
from scoreboard.local import servers as local_servers
from scoreboard.local.ports import Ports
from scoreboard.local.program import Running
from scoreboard.v1 import stream_pb2 as pb
from scoreboard.v1 import stream_pb2_grpc
from tests import servers
from tests.boards import START, World, add_players, make_world, put_entries
from tests.e2e.conftest import Signer
from tests.e2e.refusing import ISSUER
from tests.hop import HOP
from tests.servers import Database, RedisServer
from tests.services import serving
from tests.waiting import SCALE, eventually

WAIT_S = 20.0 * SCALE


class Boards:
    """The players of a test and their entries, moved as the worker moves them: Postgres, then Redis."""

    def __init__(self, world: World, refs: list[int]) -> None:
        self.world = world
        self.refs = refs
        self._entries: dict[tuple[BoardKey, int], Entry] = {}

    async def score(self, number: int, score: int, *, board: BoardKey | None = None, view_too: bool = True) -> None:
        """Gives the player p<number> that score."""
        key, ref = board or self.world.all, self.refs[number - 1]
        version = self._entries[key, ref].version + 1 if (key, ref) in self._entries else 1
        entry = Entry(key, ref, score, START + timedelta(seconds=version), version, hidden=False)
        self._entries[key, ref] = entry
        await put_entries(self.world, [entry])
        if view_too:
            await view.write_entries(self.world.redis, [entry], [UserName(ref, 1, f"p{number}", f"P{number}")])

    async def hide(self, number: int) -> None:
        """Takes the player from the board `all`."""
        key = self.world.all, self.refs[number - 1]
        entry = self._entries[key]._replace(version=self._entries[key].version + 1, hidden=True)
        self._entries[key] = entry
        await put_entries(self.world, [entry])
        await view.write_entries(self.world.redis, [entry], [])

    async def reset(self) -> None:
        """Shows p1 = 20 and p2 = 10 on the board `all`, and nobody else."""
        key = self.world.all
        for number, ref in enumerate(self.refs, start=1):
            if number > 2 and (key, ref) in self._entries and not self._entries[key, ref].hidden:
                await self.hide(number)
        await self.score(1, 20)
        await self.score(2, 10)

    async def build(self, board: BoardKey | None = None) -> None:
        """Builds the view of a board from Postgres."""
        assert await view.rebuild(self.world.worker, self.world.redis, board or self.world.all)


@dataclass
class Streams:
    """A running stream_svc."""

    running: Running
    port: int
    http_port: int
    gateway_port: int
    channel: grpc.aio.Channel
    boards: Boards
    signer: Signer
    environment: Mapping[str, str]
    folder: Path

    @asynccontextmanager
    async def another(self, **settings: object) -> AsyncIterator[Streams]:
        """Runs another stream_svc on the same boards. settings: as those of `streaming`."""
        async with _running(
            self.boards, self.signer, {**self.environment, **_variables(settings)}, self.folder
        ) as made:
            yield made

    async def reset(self) -> None:
        """Puts the board `all` back to how it began, and waits until the service shows it so."""
        world = self.boards.world
        await self.boards.reset()
        version = (await RedisReader(world.redis).top(world.all, 0, 1)).version

        async def is_shown() -> bool:
            watch = self.watch()
            frame = await watch.next()
            watch.call.cancel()
            return frame.version == version

        await eventually(is_shown, what="the board as it began")

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.http_port}/ws/leaderboard"

    def bearer(self, user_id: str, **claims: Any) -> str:
        """Returns the `authorization` of a player."""
        return f"Bearer {self.signer.token(sub=user_id, **claims)}"

    def watch(self, *, token: str | None = None, channel: grpc.aio.Channel | None = None, **request: Any) -> Watch:
        """Opens a gRPC stream."""
        metadata = (("authorization", token),) if token else None
        stub: Any = stream_pb2_grpc.StreamServiceStub(channel or self.channel)
        return Watch(stub.WatchLeaderboard(pb.WatchLeaderboardRequest(**request), metadata=metadata))

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        """Opens a WebSocket."""
        async with websockets.connect(self.url, compression=None, **options) as connection:
            yield Socket(connection)


class Watch:
    """A gRPC client's end of a stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def next(self) -> pb.LeaderboardUpdate:
        """Returns the next frame."""
        frame = await asyncio.wait_for(self.call.read(), WAIT_S)
        if frame is grpc.aio.EOF:
            raise EndOfStream(await self.call.details())
        assert isinstance(frame, pb.LeaderboardUpdate)
        return frame

    async def next_change(self) -> pb.LeaderboardUpdate:
        """Returns the next frame that is no heartbeat."""
        while (frame := await self.next()).heartbeat:
            pass
        return frame

    async def until(self, *wanted: tuple[str, int]) -> pb.LeaderboardUpdate:
        """Returns the first frame that shows exactly these (user_id, score)."""
        while True:
            frame = await self.next()
            if [(row.user_id, row.score) for row in frame.leaderboard] == list(wanted):
                return frame

    async def refusal(self) -> grpc.aio.AioRpcError:
        """Returns the error that the stream ends with."""
        try:
            while True:
                await self.next()
        except grpc.aio.AioRpcError as e:
            return e


class EndOfStream(Exception):  # noqa: N818
    """The stream ended without an error."""


class Socket:
    """A WebSocket client's end."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection

    async def next(self) -> dict[str, Any]:
        """Returns the next frame."""
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.connection.recv(), WAIT_S))
        return frame

    async def until(self, *wanted: tuple[str, int]) -> dict[str, Any]:
        """Returns the first frame that shows exactly these (user_id, score)."""
        while True:
            frame = await self.next()
            if [(row["userId"], row["score"]) for row in frame.get("leaderboard", ())] == list(wanted):
                return frame

    async def say(self, **frame: Any) -> None:
        """Sends a client frame."""
        await self.connection.send(json.dumps(frame))

    async def refusal(self) -> dict[str, Any]:
        """Returns the next error frame."""
        while True:
            frame = await self.next()
            if frame.get("success") is False:
                return frame

    async def close_code(self) -> int | None:
        """Waits for the server's close and returns its code."""
        try:
            while True:
                await asyncio.wait_for(self.connection.recv(), WAIT_S)
        except websockets.ConnectionClosed as e:
            return e.rcvd.code if e.rcvd else None


@asynccontextmanager
async def streaming(
    database: Database,
    redis_view: RedisServer,
    folder: Path,
    *,
    players: int = 5,
    redis_port: int | None = None,
    settings: Mapping[str, object] | None = None,
) -> AsyncIterator[Streams]:
    """Runs stream_svc; the board `all` is built, with the first two players p1 = 20 and p2 = 10.

    redis_port: of a gate to Redis, in place of Redis's own. settings: by the name of the setting, without its prefix.
    """
    signer = Signer()
    redis_url = redis_view.url("stream_svc")
    if redis_port is not None:
        redis_url = redis_url.replace(f":{redis_view.port}", f":{redis_port}")
    async with make_world(database, redis_view) as world, _jwks(signer) as jwks_url:
        boards = Boards(world, await add_players(world, players))
        await boards.score(1, 20, view_too=False)
        await boards.score(2, 10, view_too=False)
        await boards.build()
        environment = {
            "SCOREBOARD_POSTGRES_URL": database.url("stream_svc"),
            "SCOREBOARD_REDIS_URL": redis_url,
            "SCOREBOARD_JWKS_URL": jwks_url,
            "SCOREBOARD_ISSUER": ISSUER,
            **_variables(settings or {}),
        }
        async with _running(boards, signer, environment, folder) as made:
            yield made


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"SCOREBOARD_{name.upper()}": str(value) for name, value in settings.items()}


@asynccontextmanager
async def _running(
    boards: Boards, signer: Signer, environment: Mapping[str, str], folder: Path
) -> AsyncIterator[Streams]:
    ports = Ports()
    http_port, gateway_port = ports.take("stream_svc-http"), ports.take("stream_svc-gateway")
    ports.release_all()
    own = {
        **environment,
        "SCOREBOARD_STREAM_HTTP_PORT": str(http_port),
        "SCOREBOARD_STREAM_GATEWAY_PORT": str(gateway_port),
    }
    async with (
        serving("stream_svc", "scoreboard.v1.StreamService", "SCOREBOARD_STREAM_PORT", own, folder) as (running, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        yield Streams(running, port, http_port, gateway_port, channel, boards, signer, environment, folder)


@dataclass
class Front:
    """The gateway before a stream_svc."""

    running: Running
    target: str


@asynccontextmanager
async def gateway_before(streams: Streams, folder: Path) -> AsyncIterator[Front]:
    """Runs the gateway with its real configuration; no other service stands behind it."""
    ports = Ports()
    absent = ("auth_svc-http", *(HOP.port_of(name) for name in ("auth_svc", "score_svc", "leaderboard_svc")))
    numbers = {name: ports.take(name) for name in ("envoy", "envoy-admin", *absent)}
    numbers |= {"gateway": numbers["envoy"], "stream_svc-http": streams.http_port}
    numbers |= {"stream_svc": streams.port, "stream_svc-gateway": streams.gateway_port}
    text = gateway.render(numbers, updates_per_minute=10, logins_per_minute=10, hop=HOP)
    ports.release_all()
    front = Front(
        await servers.run(local_servers.envoy(folder, text, numbers["envoy"], numbers["envoy-admin"]), ports, folder),
        f"127.0.0.1:{numbers['envoy']}",
    )
    admin = f"http://127.0.0.1:{numbers['envoy-admin']}"

    async def is_found() -> bool:
        name = "cluster.stream.membership_healthy"
        return await probe.http_text(f"{admin}/stats?filter={name}") == f"{name}: 1"

    try:
        await eventually(is_found, what="stream_svc, found by the gateway")
        yield front
    finally:
        await front.running.kill()


@asynccontextmanager
async def _jwks(signer: Signer) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=signer.jwks, content_type="application/json")

    app = web.Application()
    app.router.add_get("/jwks", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    finally:
        await runner.cleanup()
