"""What the view says of players, beside what it should say: for the reconciliation.

Holds always: what is read of a board in one call is one state of it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from board import keys
from board.entry import BoardKey, Entry, UserName
from board.order import encode_member, encode_user
from board.read_redis import USER_SEPARATOR
from mesh.redis import text
from mesh.scripts import load_script, run

_SHOWN = load_script("board", "lua/shown.lua")
HIDDEN = "-"  # in a member's place


@dataclass(frozen=True, slots=True)
class Shown:
    """Texts as they stand in Redis, empty where nothing does, and the number at the place (None: no place).

    entry: "version member". minus: minus the score. name: version, user_id, username. user: whom the user_id means.
    """

    entry: str
    minus: float | None
    name: str
    user: str

    @property
    def entry_version(self) -> int:
        """The version of the entry; 0: none; above all where it cannot be read."""
        return _version(self.entry, " ")

    @property
    def name_version(self) -> int:
        """The version of the name, as entry_version."""
        return _version(self.name, USER_SEPARATOR)


def _version(value: str, separator: str) -> int:
    if not value:
        return 0
    version = value.partition(separator)[0]
    return int(version) if version.isdecimal() else sys.maxsize


def shown_of(entry: Entry, name: UserName) -> Shown:
    """Returns what the view should say."""
    member = HIDDEN if entry.hidden else encode_member(entry.reached_at, entry.user_ref)
    return Shown(
        f"{entry.version} {member}",
        None if entry.hidden else float(-entry.score),
        USER_SEPARATOR.join((str(name.version), name.user_id, name.username)),
        encode_user(entry.user_ref),
    )


async def read_shown(redis: Redis, board: BoardKey, user_refs: Sequence[int]) -> list[Shown]:
    """Returns what the view says of these players (at least one), in their order.

    Raises redis.exceptions.RedisError when Redis is away.
    """
    answer = await run(
        redis,
        _SHOWN,
        (keys.places(board), keys.versions(board), keys.USERS, keys.REFS),
        [encode_user(ref) for ref in user_refs],
    )
    parts = [text(part) for part in answer]
    return [
        Shown(entry, float(minus) if minus else None, name, user)
        for entry, minus, name, user in zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    ]


async def count_shown(redis: Redis, board: BoardKey) -> tuple[int, int]:
    """Returns how many players the view knows of, and how many places it has; raises as read_shown."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.hlen(keys.versions(board))
        pipeline.zcard(keys.places(board))
        known, places = await pipeline.execute()
    return known, places
