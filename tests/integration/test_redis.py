"""mesh.redis on a real Redis."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from mesh.redis import AWAY, connect
from tests.servers import RedisServer


async def test_a_connection_that_ended_unnoticed_is_redis_being_away_for_one_call(redis_view: RedisServer) -> None:
    async def ask() -> None:
        async with connect(redis_view.url("worker"), timeout_s=10) as client:
            connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            await client.connection_pool.release(connection)
            assert connection._writer is not None
            connection._writer.transport.abort()
            with pytest.raises(AWAY):
                await client.ping()
            assert await client.ping()

    def run() -> None:  # on the services' own loop, which has an error of its own for this
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(ask())

    await asyncio.to_thread(run)
