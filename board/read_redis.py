"""Reads boards from their views in Redis, each answer by one script and so of one state."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis

from board import keys
from board.entry import BoardKey
from board.read import NotReady, Page, Place, Row
from board.version import shown_version

USER_SEPARATOR = "\x1f"  # between version, user_id and username in `sb:users`

_LUA = resources.files("board") / "lua"


class RedisReader:
    """A `board.read.BoardReader` over the views that the worker keeps."""

    def __init__(self, redis: "Redis") -> None:
        self._top = redis.register_script((_LUA / "top.lua").read_text())
        self._around = redis.register_script((_LUA / "around.lua").read_text())

    async def top(self, board: BoardKey, offset: int, limit: int) -> Page:
        """As BoardReader; raises NotReady, and redis.exceptions.RedisError when Redis is away."""
        answer = await self._top(
            keys=[keys.places(board), keys.meta(board), keys.USERS], args=[offset, offset + limit - 1]
        )
        return _page(answer, offset)

    async def place(self, board: BoardKey, user_id: str) -> Place | None:
        """As BoardReader; raises as `top`."""
        page = await self.around(board, user_id, 0)
        if page is None:
            return None
        return Place(page.rows[0], page.players, approximate=False, version=page.version)

    async def around(self, board: BoardKey, user_id: str, each_side: int) -> Page | None:
        """As BoardReader; raises as `top`."""
        answer = await self._around(
            keys=[keys.places(board), keys.versions(board), keys.meta(board), keys.USERS, keys.REFS],
            args=[user_id, each_side],
        )
        if answer == []:
            return None
        return _page(answer, answer[5] if answer else 0)


def _page(answer: Sequence[Any] | None, first: int) -> Page:
    if answer is None:
        raise NotReady
    epoch, sequence, players, members, users = answer[:5]
    pairs = zip(members[::2], members[1::2], users, strict=True)
    rows = tuple(_row(first + number, *pair) for number, pair in enumerate(pairs, start=1))
    return Page(rows, players, shown_version(int(epoch), int(sequence)))


def _row(rank: int, member: bytes, minus_score: bytes, user: bytes | None) -> Row:
    if user is None:  # names are written before places: one that is missing was lost, and Postgres has to tell it
        raise NotReady
    _, user_id, username = user.decode().split(USER_SEPARATOR, 2)
    return Row(rank, user_id, username, -int(float(minus_score)))
