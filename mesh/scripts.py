"""Runs Lua scripts on Redis by their digests: many in one round trip, where redis-py's own take two.

Holds always: a Redis that forgot its scripts (restarted, flushed) is given them again, and only the calls that it did
not run for that are sent once more, in their order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib import resources
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

Q = TypeVar("Q")


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and what Redis knows it by."""

    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a script."""

    script: Script
    keys: Sequence[str]
    args: Sequence[bytes | str | int]


def load_script(package: str, filename: str) -> Script:
    """Returns the script that `filename`, a path with `/`, has in `package` (usually `__package__`)."""
    text = resources.files(package).joinpath(filename).read_text(encoding="utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run(redis: Redis, script: Script, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
    """Runs one script and returns its answer.

    Raises redis.exceptions.RedisError or OSError when Redis is away, or what the script failed with.
    """
    (answer,) = await run_all(redis, [Call(script, keys, args)])
    if isinstance(answer, Exception):
        raise answer
    return answer


async def run_all(redis: Redis, calls: Sequence[Call]) -> list[Any]:
    """Runs the calls in their order on one connection; returns what each is answered, an error of the server's too.

    Raises redis.exceptions.RedisError or OSError when Redis is away.
    """
    answers = await _send(redis, calls)
    missing = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if missing:
        again = [calls[i] for i in missing]
        for i, answer in zip(missing, await _send(redis, again, {call.script for call in again}), strict=True):
            answers[i] = answer
    return answers


async def run_for(redis: Redis, asked: Sequence[Q], to_call: Callable[[Sequence[Q]], Call], call_max: int) -> list[Any]:
    """Returns what a script answers each who asks, at most `call_max` of them a call; raises as `run_all`.

    The script returns an answer for each, in their order; an error answers all of a call.
    """
    parts = [asked[at : at + call_max] for at in range(0, len(asked), call_max)]
    answers: list[Any] = []
    for part, reply in zip(parts, await run_all(redis, [to_call(part) for part in parts]), strict=True):
        answers += reply if isinstance(reply, list) else [reply] * len(part)
    return answers


async def _send(redis: Redis, calls: Sequence[Call], unknown: Iterable[Script] = ()) -> list[Any]:
    """Sends the scripts that Redis does not know before the calls."""
    pipeline = redis.pipeline(transaction=False)
    for script in unknown:
        pipeline.execute_command("SCRIPT LOAD", script.text)
    for call in calls:
        pipeline.execute_command("EVALSHA", call.script.digest, len(call.keys), *call.keys, *call.args)
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers[-len(calls) :]
