"""Starts stream_svc: `python -m stream_svc`, configured by the environment."""

import mesh.startup  # noqa: F401 -- first: what fails from here on is told as a JSON line

# isort: split
import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from board.catalogue_cache import CatalogueCache
from board.read_postgres import PostgresReader
from board.read_redis import RedisReader
from board.reading import BoardReading
from mesh import postgres, redis
from mesh.identity import TokenVerifier
from mesh.rpc import Service
from mesh.run import run
from mesh.server import serve
from mesh.tasks import end
from scoreboard.v1 import stream_pb2
from stream_svc import feed, websocket
from stream_svc.addresses import Addresses
from stream_svc.connection import Shared
from stream_svc.hub import Hub
from stream_svc.service import ACCESS, StreamService
from stream_svc.sessions import Sessions
from stream_svc.settings import StreamSettings

log = logging.getLogger(__name__)

NAME = "stream_svc"
POOL_SIZE = 10  # Postgres is the fallback here: a query a board and second, own places eight at once
RESTART_S = 1.0
FEED_TIMEOUT_S = 2.0  # a subscription is quiet by nature; feed.py has a clock of its own


async def main(settings: StreamSettings) -> None:
    """Serves until it is told to stop."""
    async with AsyncExitStack() as stack:
        pool = await postgres.create_pool(settings.postgres_url, name=NAME, size=POOL_SIZE)
        stack.push_async_callback(pool.close)
        client = redis.connect(settings.redis_url)
        stack.push_async_callback(client.aclose)
        feed_client = redis.connect(settings.redis_url, timeout_s=FEED_TIMEOUT_S, shown_as="feed")
        stack.push_async_callback(feed_client.aclose)
        catalogue = CatalogueCache(pool)
        await catalogue.start()
        stack.push_async_callback(catalogue.close)
        verifier = TokenVerifier(settings.jwks_url, settings.issuer, settings.audience)
        await verifier.start()
        stack.push_async_callback(verifier.close)
        hub = Hub(
            catalogue,
            BoardReading(RedisReader(client), PostgresReader(pool), redis.breaker()),
            clock=lambda: datetime.now(UTC),
            watchers_max=settings.stream_watchers_max,
            heartbeat_s=settings.stream_heartbeat_s,
        )
        stack.push_async_callback(hub.close)
        sessions = Sessions(client)
        await stack.enter_async_context(_running("feed", lambda: feed.follow(feed_client, hub.hint, hub.hint_all)))
        await stack.enter_async_context(_running("heartbeats", hub.keep_beating))
        await stack.enter_async_context(_running("sessions", lambda: sessions.keep_checking(hub)))
        addresses = Addresses(settings.stream_per_address_max)
        shared = Shared(hub, sessions, verifier, addresses, settings.stream_write_timeout_s)
        door = websocket.Door(shared, frozenset(settings.origins), settings.trusted_hops)
        sockets = await websocket.listen(settings.host, settings.stream_http_port, door)
        stack.callback(sockets.close)

        async def drain() -> None:
            sockets.close()
            hub.drain()
            door.drain()

        service = Service(
            stream_pb2.DESCRIPTOR.services_by_name["StreamService"],
            StreamService(hub, sessions, addresses, settings.trusted_hops),
            ACCESS,
        )
        await serve(
            settings,
            settings.stream_port,
            [service],
            ready=lambda: catalogue.is_loaded,
            gateway_port=settings.stream_gateway_port,
            verifier=verifier,
            on_drain=drain,
            write_timeout_s=settings.stream_write_timeout_s,
        )


@asynccontextmanager
async def _running(name: str, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def run_on() -> None:
        while True:
            try:
                await work()
            except Exception:  # the streams stand without it for a moment, not for ever
                log.exception("A background task failed", extra={"event": "task_failed", "task": name})
            await asyncio.sleep(RESTART_S)

    task = asyncio.create_task(run_on(), name=name)
    try:
        yield
    finally:
        await end(task)


if __name__ == "__main__":
    run(NAME, StreamSettings, main)
