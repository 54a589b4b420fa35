"""Starts leaderboard_svc: `python -m leaderboard_svc`, configured by the environment."""

import mesh.startup  # noqa: F401 -- first: what fails from here on is told as a JSON line

# isort: split
from contextlib import AsyncExitStack

from board.catalogue_cache import CatalogueCache
from board.read_postgres import PostgresReader
from board.read_redis import RedisReader
from board.reading import BoardReading
from leaderboard_svc import http
from leaderboard_svc.peer import Peer
from leaderboard_svc.service import ACCESS, LeaderboardService
from leaderboard_svc.settings import LeaderboardSettings
from mesh import postgres, redis
from mesh.rpc import Service
from mesh.run import run
from mesh.server import serve
from scoreboard.v1 import leaderboard_pb2

NAME = "leaderboard_svc"
POOL_SIZE = 8  # Postgres is the fallback here
STALE_S = 1.0  # what it says of the top: one query a board and second, however many ask


async def main(settings: LeaderboardSettings) -> None:
    """Serves until it is told to stop."""
    async with AsyncExitStack() as stack:
        pool = await postgres.create_pool(settings.postgres_url, name=NAME, size=POOL_SIZE)
        stack.push_async_callback(pool.close)
        client = redis.connect(settings.redis_url)
        stack.push_async_callback(client.aclose)
        catalogue = CatalogueCache(pool)
        await catalogue.start()
        stack.push_async_callback(catalogue.close)
        reading = BoardReading(RedisReader(client), PostgresReader(pool, top_life_s=STALE_S), redis.breaker())
        descriptor = leaderboard_pb2.DESCRIPTOR.services_by_name["LeaderboardService"]
        peers = [Peer(each.name, each.gateway) for each in settings.other_regions]
        for peer in peers:
            stack.push_async_callback(peer.close)
        servicer = LeaderboardService(reading, catalogue, pool, region=settings.region, peers=peers)
        await serve(
            settings,
            settings.leaderboard_port,
            [Service(descriptor, servicer, ACCESS)],
            ready=lambda: catalogue.is_loaded,
            gateway_port=settings.leaderboard_gateway_port,
            pages={http.PATH: http.LeaderboardPage(servicer).answer},
        )


if __name__ == "__main__":
    run(NAME, LeaderboardSettings, main)
