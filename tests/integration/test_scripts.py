"""mesh.scripts on a real Redis."""

from __future__ import annotations

from hashlib import sha1
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mesh.scripts import Call, Script, run, run_all
from tests.servers import RedisServer


def script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


async def test_a_redis_that_forgot_a_script_runs_each_call_once_all_the_same(redis_server: RedisServer) -> None:
    known, forgotten = script("return redis.call('INCR', KEYS[1])"), script("return redis.call('DECR', KEYS[1])")
    first, second, third = (f"test:{uuid4().hex}" for _ in range(3))
    async with Redis.from_url(redis_server.url()) as redis:
        await redis.script_flush()
        assert await run(redis, known, [first], []) == 1
        calls = [Call(forgotten, [second], []), Call(known, [first], []), Call(forgotten, [third], [])]
        assert await run_all(redis, calls) == [-1, 2, -1]
        assert await redis.mget(first, second, third) == [b"2", b"-1", b"-1"]
        await redis.delete(first, second, third)


async def test_a_call_that_fails_takes_no_other_with_it(redis_server: RedisServer) -> None:
    fails, works = script("return redis.error_reply('ODD no')"), script("return ARGV[1]")
    async with Redis.from_url(redis_server.url()) as redis:
        before, failed, after = await run_all(
            redis, [Call(works, [], ["a"]), Call(fails, [], []), Call(works, [], ["b"])]
        )
    assert (before, type(failed), after) == (b"a", ResponseError, b"b")
