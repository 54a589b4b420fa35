"""Runs the boards' Lua scripts, by their digests and many in one round trip.

Holds always: a Redis that forgot its scripts (restarted, flushed) gets them again and the whole round trip is sent
once more; so every script must be harmless to repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib import resources

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class Script:
    """A file of board/lua."""

    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | int]


@cache
def load_script(name: str) -> Script:
    """Returns board/lua/NAME.lua."""
    text = resources.files("board").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run_all(redis: Redis, calls: Sequence[Call]) -> list[object]:
    """Runs the calls in their order on one connection and returns their answers.

    Raises redis.exceptions.RedisError when Redis is away, or the first error that a script met.
    """
    answers = await _send(redis, calls)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        for script in {call.script.digest: call.script for call in calls}.values():
            await redis.script_load(script.text)
        answers = await _send(redis, calls)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def run(redis: Redis, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> object:
    """Runs one script and returns its answer. Raises as run_all does."""
    try:
        return await redis.evalsha(script.digest, len(keys), *keys, *args)
    except NoScriptError:
        return await redis.eval(script.text, len(keys), *keys, *args)


async def _send(redis: Redis, calls: Sequence[Call]) -> list[object]:
    async with redis.pipeline(transaction=False) as pipeline:
        for call in calls:
            pipeline.evalsha(call.script.digest, len(call.keys), *call.keys, *call.args)
        return list(await pipeline.execute(raise_on_error=False))
