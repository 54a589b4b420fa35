"""What the view stands on: one Redis, one database, and the newest ledger row that the database had.

An origin is a random id. A new one begins when another Redis or another database answers, or when one of them went
back in time. Holds always: a board is right only if it was built under the origin that holds; beginning a new one
takes every board from the readers in the same instant, and every name with them, since after a database went back
the same inner number may mean another player.
"""

import uuid
from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from board import keys
from mesh.redis import text
from mesh.scripts import load_script, run

_BEGIN = load_script("board", "lua/origin.lua")


@dataclass(frozen=True, slots=True)
class Origin:
    """What Redis says of it. id and source are empty where there is none; newest: a ledger row."""

    id: str
    source: str
    newest: UUID | None


async def read_origin(redis: Redis) -> Origin:
    """Returns the origin that holds. Raises redis.exceptions.RedisError when Redis is away."""
    found = await redis.hmget(keys.VIEW, "origin", "source", "newest")
    origin, source, newest = (text(value or "") for value in found)
    return Origin(origin, source, UUID(newest) if newest else None)


async def begin_origin(redis: Redis, ended: str, source: str, newest: UUID | None) -> str:
    """Begins a new origin in place of `ended`, and returns the one that holds: another worker may have been first."""
    begun = await run(
        redis,
        _BEGIN,
        (keys.VIEW, keys.BOARDS, keys.USERS, keys.REFS),
        (ended, uuid.uuid4().hex, source, str(newest or ""), keys.META),
    )
    return text(begun)


async def end_origin(redis: Redis) -> None:
    """Makes the workers begin a new one: what the view shows cannot be trusted."""
    await redis.hdel(keys.VIEW, "origin", "source")


async def put_newest(redis: Redis, newest: UUID) -> None:
    """Says which ledger row the database had last: one that lacks it has gone back."""
    await redis.hset(keys.VIEW, "newest", str(newest))
