"""Clients of every kind at a running mesh, at work until they are told to stop.

Each repeats what is safe to repeat: a call that met UNAVAILABLE (503) or ran out of time (504), an update with its
nonce, for up to PATIENCE_S; a watcher connects again. Whatever else they meet is an error of the mesh.
Holds always: nothing is sent without a place in `sent`, by the id that is derived from its nonce.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import httpx
import stamina
import websockets
from google.protobuf.message import Message
from httpx_sse import aconnect_sse

from board.update_id import derive_update_id
from scoreboard.client import Client, ScoreboardError, Status
from scoreboard.v1 import leaderboard_pb2, score_pb2
from stream_svc import endings
from tests.e2e.players import PASSWORD, Player, fresh_nonce, sign_up
from tests.e2e.protocols import Protocols, Said
from tests.fault.checker import Sent, Told
from tests.meshes import Mesh, scoreboard
from tests.scoring import nonce_time_ms
from tests.waiting import SCALE

T = TypeVar("T")
Rows = list[tuple[str, float]]  # (user id, score), best first
Frames = AsyncGenerator[tuple[float, Rows], None]  # (version, rows)

PATIENCE_S = 15.0 * SCALE
UPDATE_EVERY_S = 2.0  # of one player; what is over the limit of a minute waits as it is told to
READ_EVERY_S = 0.2
BATCH, BATCH_EVERY_S = 20, 0.2
ROWS = 20
PASSING = (503, 504)
POINTS = {"win-round": 50, "collect-coin": 1}
RECONNECTS = {ending.close_code for ending in endings.ALL if ending.reconnect}
TOLD = {score_pb2.APPLIED: Told.APPLIED, score_pb2.PENDING: Told.PENDING}


class Away(Exception):  # noqa: N818
    """No answer now, or the end of a stream: to be repeated."""


@dataclass
class Crowd:
    """What the clients share. `errors`: what no repeat has hidden. `met`: how often whom was turned away."""

    mesh: Mesh
    protocols: Protocols
    sent: dict[UUID, Sent] = field(default_factory=dict)  # all updates, by id
    errors: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    shown: dict[str, Rows] = field(default_factory=dict)  # by watcher
    players: list[str] = field(default_factory=list)  # ids of those who score
    _is_over: bool = False
    _at_work: list[asyncio.Task[None]] = field(default_factory=list)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    def note(self, request: score_pb2.UpdateScoreRequest, reporter: str = "") -> Sent:
        """Give an update its place before it is sent."""
        update_id = derive_update_id(
            nonce_time_ms(request.nonce), reporter=reporter, user_id=request.user_id, nonce=request.nonce
        )
        return self.sent.setdefault(update_id, Sent(update_id, request.user_id, POINTS[request.action_id]))

    async def repeat(self, who: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call again until it does not raise Away."""
        async for attempt in stamina.retry_context(on=Away, attempts=None, timeout=PATIENCE_S, wait_max=1.0):
            with attempt:
                try:
                    return await call()
                except Away:
                    self.met[who] += 1
                    raise
        raise AssertionError("retry_context ends by a return or an exception")

    async def call(self, protocol: str, rpc: str, request: Message, headers: dict[str, str]) -> Said:
        """Make a call by this protocol, repeated; return an answer, or the refusal for a limit."""

        async def once() -> Said:
            said = await self.protocols.call(protocol, rpc, request, headers)
            if said.status in PASSING or said.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                raise Away
            assert said.message is not None or said.reason == "RATE_LIMITED", said
            return said

        return await self.repeat(f"{protocol} {rpc}", once)

    async def until_over(self, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Do it again and again."""
        while not self._is_over:
            await work()
            await asyncio.sleep(pause_s)

    def start(self, who: str, work: Coroutine[Any, Any, None]) -> None:
        """Put a client to work."""
        self._at_work.append(asyncio.create_task(self._guarded(who, work), name=who))

    def start_watcher(self, who: str, connect: Callable[[], Frames]) -> None:
        """Put a watcher before the board."""
        self._watching.append(asyncio.create_task(self._guarded(who, self._watch(who, connect)), name=who))

    async def rest(self) -> None:
        """Let those at work finish what they have begun; the watchers stay."""
        self._is_over = True
        await asyncio.gather(*self._at_work)

    async def end(self) -> None:
        """Send everyone home."""
        for task in (tasks := [*self._at_work, *self._watching]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, who: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as e:
            self.errors.append(f"{who}: {e!r}")

    async def _watch(self, who: str, connect: Callable[[], Frames]) -> None:
        """Shows the board for ever, connecting again; a version that falls is an error."""
        newest = 0.0
        while True:
            try:
                async with aclosing(connect()) as frames:
                    async for version, rows in frames:
                        assert version >= newest or version == 0, f"version {version} after {newest}"
                        newest, self.shown[who] = version or newest, rows
            except Away:
                pass
            self.met[who] += 1
            await asyncio.sleep(random.uniform(0.1, 0.5))


async def native_player(crowd: Crowd, client: Client) -> None:
    """Updates by the Python client, which repeats by itself."""

    async def update() -> None:
        request = _any_update(client.user_id, client.nonce())
        sent = crowd.note(request)
        try:
            update = await client.score(request.action_id, nonce=request.nonce)
            while update.status is Status.PENDING:
                await asyncio.sleep(READ_EVERY_S)
                update = await client.get_update(update.update_id)
            sent.told.append(Told[update.status])
            await client.rank()
        except ScoreboardError as e:
            if e.reason != "RATE_LIMITED":
                raise
            sent.told.append(Told.FAILED)
            await asyncio.sleep(e.retry_after_s or 1.0)

    await crowd.until_over(update, UPDATE_EVERY_S)


async def native_reader(crowd: Crowd, client: Client) -> None:
    """Reads of the board, and refreshes of a session, by the Python client."""

    async def read() -> None:
        await client.top(ROWS)
        await client.refresh()

    await crowd.until_over(read, READ_EVERY_S)


async def web_player(crowd: Crowd, player: Player) -> None:
    """Updates and reads by JSON."""

    async def update() -> None:
        request = _any_update(player.session.user_id, fresh_nonce())
        sent = crowd.note(request)
        said = await crowd.call("json", "UpdateScore", request, player.signed(request))
        while said.message is not None and said.message.status == score_pb2.PENDING:
            asked = score_pb2.GetUpdateRequest(update_id=said.message.update_id)
            said = await crowd.call("json", "GetUpdate", asked, player.bearer)
        sent.told.append(Told.FAILED if said.message is None else TOLD[said.message.status])
        await crowd.call("json", "GetLeaderboard", leaderboard_pb2.GetLeaderboardRequest(limit=ROWS), {})

    await crowd.until_over(update, UPDATE_EVERY_S)


async def web_reader(crowd: Crowd) -> None:
    """Reads by JSON."""
    top = leaderboard_pb2.GetLeaderboardRequest(limit=ROWS)

    async def read() -> None:
        await crowd.call("json", "GetLeaderboard", top, {})

    await crowd.until_over(read, READ_EVERY_S)


async def game_server(crowd: Crowd, client_id: str, secret: str) -> None:
    """A trusted client, which gets a token and reports updates of many players at once."""
    login = {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}

    async def token() -> str:
        form = {"grant_type": "client_credentials"}
        answer = await crowd.protocols.http.post("/oauth2/token", data=form, headers=login)
        if answer.status_code in PASSING:
            raise Away
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def report() -> None:
        bearer = {"authorization": f"Bearer {await crowd.repeat('token', token)}"}
        request = score_pb2.UpdateScoresRequest(
            updates=[_any_update(random.choice(crowd.players), fresh_nonce()) for _ in range(BATCH)]
        )
        sent = [crowd.note(update, client_id) for update in request.updates]
        for told in (one.told for one in sent):
            told.append(Told.UNKNOWN)
        while {one.last for one in sent} != {Told.APPLIED}:
            said = await crowd.call("grpc", "UpdateScores", request, bearer)
            for one, result in zip(sent, said.message.results, strict=True):
                # An item that met what passes is repeated with the others, which are answered as before.
                one.told.append(TOLD[result.status] if result.reason != "SERVICE_AWAY" else Told.UNKNOWN)

    await crowd.until_over(report, BATCH_EVERY_S)


async def by_client(client: Client) -> Frames:
    """The frames of the Python client, which reconnects by itself."""
    async with aclosing(client.watch(ROWS)) as boards:
        async for board in boards:
            yield board.version, [(row.user_id, row.score) for row in board.leaderboard]


async def by_sse(http: httpx.AsyncClient) -> Frames:
    """The frames of one Server-Sent Events stream."""
    async with aconnect_sse(http, "GET", "/api/scores/stream", params={"limit": ROWS}) as source:
        if source.response.status_code == 503:
            raise Away
        async for event in source.aiter_sse():
            frame = json.loads(event.data)
            if frame.get("leaderboard"):
                yield frame["version"], _rows(frame)


async def by_websocket(url: str) -> Frames:
    """The frames of one WebSocket."""
    try:
        async with websockets.connect(url.replace("http", "ws", 1) + "/ws/leaderboard") as socket:
            await socket.send(json.dumps({"watch": [{"board": "all", "limit": ROWS}]}))
            async for text in socket:
                frame = json.loads(text)
                if frame.get("leaderboard"):  # else a heartbeat, or a refusal while the board cannot be read
                    yield frame["version"], _rows(frame)
    except websockets.InvalidStatus as e:
        if e.response.status_code != 503:
            raise
        raise Away from e
    except websockets.ConnectionClosed as e:
        if e.rcvd is None or e.rcvd.code not in RECONNECTS:
            raise
        raise Away from e


@asynccontextmanager
async def crowd_at(mesh: Mesh, protocols: Protocols, *, players: int, watchers: int) -> AsyncIterator[Crowd]:
    """Yields a crowd at work; sends it home at the end.

    players: of each kind, by the Python client and by JSON; watchers: of each of three kinds.
    """
    crowd = Crowd(mesh, protocols)
    async with AsyncExitStack() as stack:

        async def client() -> Client:
            return await stack.enter_async_context(Client(mesh.url, deadline_s=PATIENCE_S))

        natives = [await client() for _ in range(players)]
        for native in natives:
            await native.register(f"n-{secrets.token_hex(6)}", PASSWORD)
        webs = [await sign_up(protocols) for _ in range(players)]
        crowd.players += [native.user_id for native in natives] + [web.session.user_id for web in webs]
        crowd.start("native reader", native_reader(crowd, natives[0]))
        crowd.start("web reader", web_reader(crowd))
        crowd.start("game server", game_server(crowd, *await _new_game_server(mesh)))
        for n in range(players):
            crowd.start(f"native player {n}", native_player(crowd, natives[n]))
            crowd.start(f"web player {n}", web_player(crowd, webs[n]))
        for n in range(watchers):
            crowd.start_watcher(f"native watcher {n}", partial(by_client, await client()))
            crowd.start_watcher(f"SSE watcher {n}", partial(by_sse, protocols.http))
            crowd.start_watcher(f"WebSocket watcher {n}", partial(by_websocket, mesh.url))
        try:
            yield crowd
        finally:
            await crowd.end()


def _any_update(user_id: str, nonce: str) -> score_pb2.UpdateScoreRequest:
    return score_pb2.UpdateScoreRequest(user_id=user_id, action_id=random.choice(list(POINTS)), nonce=nonce)


def _rows(frame: dict[str, Any]) -> Rows:
    return [(row["userId"], row["score"]) for row in frame["leaderboard"]]


async def _new_game_server(mesh: Mesh) -> tuple[str, str]:
    done = await scoreboard("clients", "create", f"s-{secrets.token_hex(6)}", "--json", "--data", str(mesh.data))
    assert done.code == 0, done.err
    made = json.loads(done.out)
    return made["client_id"], made["client_secret"]
