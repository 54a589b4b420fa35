"""Clients of the gateway who stop reading their streams: what they cost, their end, and that nobody else notices."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import grpc
import psutil
import pytest
import websockets

from mesh.tasks import end
from scoreboard.client import to_error
from stream_svc import endings
from tests.servers import Database, RedisServer
from tests.sizes import Record, sized
from tests.waiting import SCALE, eventually
from tests.watching import Front, Socket, Streams, Watch, gateway_before, streaming

CLIENTS, SLOW = sized(100, 1000), sized(20, 200)  # half of each by gRPC, half by WebSocket
STOP_S, WRITE_TIMEOUT_S = sized(5, 60), sized(1, 10)
CUT_WITHIN_S = STOP_S + 30 * SCALE  # what the sockets take in comes before the first write that hangs
CHANGE_EVERY_S = sized(0.1, 1.0)
BYTES_MAX = 1_000_000  # of a slow one, in stream_svc and the gateway together
SEEN_WITHIN_S = 1.0 * sized(3.0, 1.0) * SCALE  # `make test` shares two cores with whatever else runs
CLOSE_S = 1.0  # what the gateway takes to close a connection
ROWS = 100
# A window that does not grow: else the client's own stack takes in what the client does not read.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384)]
FIRST_SCORE = 1000


class Race:
    """The first player's scores, one after the other, and how late they were seen at most.

    seen: each reader's newest.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.made_at: list[float] = []
        self.late_s = 0.0
        self.seen: list[int] = []

    @property
    def score(self) -> int:
        """The newest."""
        return FIRST_SCORE + len(self.made_at) - 1

    async def go_on(self) -> None:
        """Makes the next."""
        self.made_at.append(time.monotonic())
        await self._streams.boards.score(1, self.score)

    async def see(self, next_score: Callable[[], Awaitable[int]]) -> None:
        """Watches until it is cancelled; a frame shows all that came before it too."""
        reader = len(self.seen)
        self.seen.append(self.score)
        while True:
            score = await next_score()
            if score > (seen := self.seen[reader]):
                self.late_s = max(self.late_s, time.monotonic() - self.made_at[seen + 1 - FIRST_SCORE])
                self.seen[reader] = score


class Clients:
    """Streams through the gateway, on connections of their own."""

    def __init__(self, streams: Streams, front: Front) -> None:
        self._streams = streams
        self._front = front
        self._channels: list[grpc.aio.Channel] = []
        self._watches: list[Watch] = []  # a call that nobody holds is cancelled
        self._sockets: list[websockets.ClientConnection] = []

    async def watch(self, limit: int, options: Sequence[tuple[str, int]] = ()) -> Watch:
        """Opens a gRPC stream and reads its first frame."""
        own = ("grpc.use_local_subchannel_pool", 1)
        self._channels.append(grpc.aio.insecure_channel(self._front.target, options=[own, *options]))
        watch = self._streams.watch(channel=self._channels[-1], limit=limit)
        self._watches.append(watch)
        await watch.next()
        return watch

    async def socket(self, limit: int) -> Socket:
        """Opens a WebSocket and reads its first frame of so many rows."""
        url = f"ws://{self._front.target}/ws/leaderboard"
        connection = await websockets.connect(
            url, compression=None, ping_interval=None, max_queue=1, close_timeout=CLOSE_S
        )
        self._sockets.append(connection)
        await connection.send(json.dumps({"watch": [{"board": "all", "limit": limit}]}))
        socket = Socket(connection)
        while len((await socket.next())["leaderboard"]) != limit:
            pass
        return socket

    async def find_room(self) -> bool:
        """Opens one stream more, which stays, if there is room."""
        try:
            await self.watch(limit=1)
        except grpc.aio.AioRpcError as e:
            if to_error(e).reason != "QUEUE_FULL":
                raise
            return False
        return True

    async def close(self) -> None:
        """Closes all; the gateway takes a second for each."""
        await asyncio.gather(
            *(channel.close() for channel in self._channels), *(socket.close() for socket in self._sockets)
        )


@pytest.mark.promise(row=33)
@pytest.mark.timeout(600 * SCALE)
async def test_a_slow_reader_harms_nobody(
    database: Database, redis_view: RedisServer, tmp_path: Path, record_property: Record
) -> None:
    settings = {"stream_write_timeout_s": WRITE_TIMEOUT_S, "stream_watchers_max": CLIENTS + 1}
    async with (
        streaming(database, redis_view, tmp_path, players=ROWS, settings=settings) as streams,
        gateway_before(streams, tmp_path) as front,
        AsyncExitStack() as stack,
    ):
        await fill(streams)
        race, clients = Race(streams), Clients(streams, front)
        stack.push_async_callback(clients.close)
        await race.go_on()
        see = []
        for _ in range((CLIENTS - SLOW) // 2):
            see.append(race.see(partial(score_of_watch, await clients.watch(limit=1))))
            see.append(race.see(partial(score_of_socket, await clients.socket(limit=1))))
        reading = asyncio.create_task(together(see))
        stack.push_async_callback(end, reading)
        watches = [await clients.watch(ROWS, SMALL_WINDOW) for _ in range(SLOW // 2)]
        sockets = [await clients.socket(ROWS) for _ in range(SLOW // 2)]
        before, most, stopped_at = memory(streams, front), 0, time.monotonic()
        newcomers = 0  # one has room at once, and one more for each slow one that is cut off
        while time.monotonic() < stopped_at + STOP_S or newcomers <= SLOW:
            assert time.monotonic() < stopped_at + CUT_WITHIN_S, f"room for {newcomers} instead of {SLOW}"
            await race.go_on()
            await asyncio.sleep(CHANGE_EVERY_S)
            most = max(most, memory(streams, front) - before)
            assert not reading.done(), reading.exception()
            while newcomers <= SLOW and await clients.find_room():
                newcomers += 1
        assert most / SLOW < BYTES_MAX
        # What no frame has shown is late too, and is known to be at the end alone.
        await eventually(
            lambda: set(race.seen) == {race.score}, SEEN_WITHIN_S / SCALE, "the last change at each reader"
        )
        assert len(race.seen) == len(see)
        assert race.late_s < SEEN_WITHIN_S
        assert {to_error(await watch.refusal()).reason for watch in watches} == {"SLOW_CONSUMER"}
        codes = await asyncio.gather(*(socket.close_code() for socket in sockets))
        # 1001: its silence to a ping was noticed before a write hung. None: nothing more could be said.
        assert set(codes) <= {None, websockets.CloseCode.GOING_AWAY, endings.SLOW_CONSUMER.close_code}
    record_property("faults", SLOW)


async def fill(streams: Streams) -> None:
    """Makes frames big: long names, none of them ASCII."""
    await streams.boards.world.owner.execute("UPDATE users SET username = repeat(chr(x'1D11E'::int), 50)")
    for number in range(2, ROWS + 1):
        await streams.boards.score(number, number, view_too=False)
    await streams.boards.build()


def memory(streams: Streams, front: Front) -> int:
    """What stream_svc and the gateway take, in bytes."""
    return sum(psutil.Process(running.pid).memory_info().rss for running in (streams.running, front.running))


async def together(works: Iterable[Awaitable[None]]) -> None:
    """Does all of it at once; the first failure ends it."""
    await asyncio.gather(*works)


async def score_of_watch(watch: Watch) -> int:
    """Returns the first row's score of the next frame; 0: a heartbeat."""
    rows = (await watch.next()).leaderboard
    return int(rows[0].score) if rows else 0


async def score_of_socket(socket: Socket) -> int:
    """The same of a WebSocket's."""
    rows = (await socket.next())["leaderboard"]
    return int(rows[0]["score"]) if rows else 0
