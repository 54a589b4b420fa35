"""StreamService over gRPC; the gateway makes Server-Sent Events of the same stream."""

import asyncio
from collections.abc import AsyncIterator

from mesh.address import client_address
from mesh.call import Call
from mesh.rpc import Access
from scoreboard.v1.stream_pb2 import WatchLeaderboardRequest
from stream_svc.addresses import Addresses
from stream_svc.frames import Format
from stream_svc.hub import Hub
from stream_svc.sessions import Sessions
from stream_svc.watcher import Watcher
from stream_svc.wish import wish_of_request

ACCESS = {"WatchLeaderboard": Access(optional=True)}


class StreamService:
    """Answers WatchLeaderboard."""

    def __init__(self, hub: Hub, sessions: Sessions, addresses: Addresses, trusted_hops: int) -> None:
        self._hub = hub
        self._sessions = sessions
        self._addresses = addresses
        self._trusted_hops = trusted_hops

    async def watch_leaderboard(self, request: WatchLeaderboardRequest, call: Call) -> AsyncIterator[bytes]:
        """Yields frames, serialised, until the client leaves or the stream is ended; pushes those that it can."""
        wish = wish_of_request(request)
        clock = asyncio.get_running_loop().time
        news = asyncio.Event()

        def take() -> list[bytes]:
            return watcher.take(clock())

        def wake() -> None:
            if watcher.ending is not None or not call.push(take):
                news.set()

        watcher = Watcher(
            wish.board, wish.limit, Format.PROTO, wake, deltas=request.deltas, known_version=request.version
        )
        if request.me and call.identity is not None:
            await self._sessions.check(call.identity)
            watcher.identity = call.identity
        address = client_address(call.metadata.get("x-forwarded-for"), self._trusted_hops)
        with self._addresses.counting(address):
            async with self._hub.watching(watcher):
                while True:
                    news.clear()
                    for frame in take():
                        yield frame
                    if watcher.ending is not None:
                        raise watcher.ending.refused()
                    await news.wait()
