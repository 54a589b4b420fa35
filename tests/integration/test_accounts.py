"""Each account reaches its own keys and queues, and nothing else."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio
from redis.exceptions import NoPermissionError, ResponseError

from tests.servers import PostgresServer, RedisServer, Vhost


async def test_postgres_keeps_what_it_acknowledged(postgres_server: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres_server.url())
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    finally:
        await connection.close()


async def test_redis_refuses_a_reader_that_writes(redis_view: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url("leaderboard_svc")) as reader:
        assert await reader.zrange("sb:b:1:0:z", 0, 9) == []
        with pytest.raises(NoPermissionError):
            await reader.zadd("sb:b:1:0:z", {"member": 1})


async def test_redis_lets_a_reader_run_scripts_that_read(redis_view: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url("leaderboard_svc")) as reader:
        count = reader.register_script("return redis.call('ZCARD', KEYS[1])")
        assert await count(keys=["sb:b:1:0:z"]) == 0
        write = reader.register_script("return redis.call('ZADD', KEYS[1], 1, 'member')")
        with pytest.raises(ResponseError, match="can't run this command"):
            await write(keys=["sb:b:1:0:z"])


async def test_redis_lets_the_worker_write_boards_and_hints_alone(redis_view: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url("worker")) as worker:
        await worker.zadd("sb:b:1:0:z", {"member": 1})
        assert await worker.publish("sb:feed", "1:0 1 1") == 0
        with pytest.raises(NoPermissionError):
            await worker.get("sb:deny:someone")


async def test_redis_never_evicts_and_keeps_a_log(redis_view: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url(), decode_responses=True) as owner:
        settings = await owner.config_get("maxmemory-policy", "appendonly", "appendfsync")
    assert settings == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}


async def test_vhost_carries_the_rights_of_each_account(vhost: Vhost) -> None:
    async with vhost.server.api() as api:
        rights = (await api.get(f"/vhosts/{vhost.name}/permissions")).json()
        policies = (await api.get(f"/policies/{vhost.name}")).json()
    assert {right["user"] for right in rights} == {"scoreboard", "admin_svc", "auth_svc", "score_svc", "worker"}
    assert [policy["definition"] for policy in policies] == [{"delivery-limit": 100}]
