"""Starts admin_svc: `python -m admin_svc`. Its port is the operators' alone; the public gateway has no route to it."""

import mesh.startup  # noqa: F401 -- first: what fails from here on is told as a JSON line

# isort: split
from contextlib import AsyncExitStack

from admin_svc.acts import Acts
from admin_svc.dead_letters import DeadLetters
from admin_svc.operators import Operators
from admin_svc.service import ACCESS, AdminServicer
from admin_svc.settings import AdminSettings
from admin_svc.users import Users
from board.catalogue_cache import CatalogueCache
from board.read_postgres import PostgresReader
from board.read_redis import RedisReader
from board.reading import BoardReading
from board.submit import Submitter
from mesh import postgres, redis
from mesh.identity import TokenVerifier
from mesh.rabbitmq import Connection, Publisher
from mesh.rpc import Service
from mesh.run import run
from mesh.server import serve
from scoreboard.v1 import admin_pb2

NAME = "admin_svc"
POOL_SIZE = 8  # a few operators at once; a stream of the ledger holds a connection a page at a time
QUERY_TIMEOUT_S = 30.0  # a look through a day of a large ledger


async def main(settings: AdminSettings) -> None:
    """Serves until it is told to stop."""
    async with AsyncExitStack() as stack:
        pool = await postgres.create_pool(
            settings.postgres_url, name=NAME, size=POOL_SIZE, command_timeout_s=QUERY_TIMEOUT_S
        )
        stack.push_async_callback(pool.close)
        client = redis.connect(settings.redis_url)
        stack.push_async_callback(client.aclose)
        catalogue = CatalogueCache(pool)
        await catalogue.start()
        stack.push_async_callback(catalogue.close)
        connection = Connection(settings.rabbitmq_url, NAME)
        stack.push_async_callback(connection.close)
        submitter = Submitter(connection, pool)
        publisher = Publisher(connection)
        connection.start()
        verifier = TokenVerifier(settings.jwks_url, settings.issuer, settings.audience)
        stack.push_async_callback(verifier.close)
        await verifier.start()
        reading = BoardReading(RedisReader(client), PostgresReader(pool), redis.breaker())
        users = Users(pool, catalogue, reading)
        servicer = AdminServicer(pool, catalogue, users, Acts(pool, submitter), DeadLetters(pool, publisher))
        descriptor = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
        await serve(
            settings,
            settings.admin_port,
            [Service(descriptor, servicer, ACCESS)],
            ready=lambda: verifier.is_ready,
            verifier=Operators(verifier, pool),
            tls=settings.tls,
            health_port=settings.admin_health_port,
        )


if __name__ == "__main__":
    run(NAME, AdminSettings, main)
