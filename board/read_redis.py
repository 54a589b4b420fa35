"""Reads boards from their views in Redis, each answer by one script and so of one state."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from board import keys
from board.entry import BoardKey
from board.order import encode_reached_us, reached_us
from board.read import Ahead, NotReady, Page, Place, Row
from board.version import shown_version
from mesh.rounds import Rounds
from mesh.scripts import Call, load_script, run, run_for

USER_SEPARATOR = "\x1f"  # between version, user_id and username in `sb:users`

ROUND_MAX = 500  # players; a larger round would keep the others' answers waiting
CALL_MAX = 50  # players a call of the script, which holds everyone up: with 50 rows on each side about 3 ms

_TOP = load_script("board", "lua/top.lua")
_AROUND = load_script("board", "lua/around.lua")
_AHEAD = load_script("board", "lua/ahead.lua")
_Asked = tuple[BoardKey, str, int]  # player, rows on each side


class RedisReader:
    """A `board.read.BoardReader` over the views that the worker keeps.

    Players who are asked for at about the same time are looked up in one round trip.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._rounds = Rounds("places", self._places, ROUND_MAX)

    async def top(self, board: BoardKey, offset: int, limit: int) -> Page:
        """As BoardReader; raises NotReady, and redis.exceptions.RedisError when Redis is away."""
        names = (keys.places(board), keys.meta(board), keys.USERS)
        answer = await run(self._redis, _TOP, names, (offset, offset + limit - 1))
        return _page(answer, offset)

    async def place(self, board: BoardKey, user_id: str) -> Place | None:
        """As BoardReader; raises as `top`."""
        page = await self.around(board, user_id, 0)
        if page is None:
            return None
        return Place(page.rows[0], page.players, approximate=False, version=page.version)

    async def around(self, board: BoardKey, user_id: str, each_side: int) -> Page | None:
        """As BoardReader; raises as `top`."""
        answer = await self._rounds.ask((board, user_id, each_side))
        if answer == []:
            return None
        return _page(answer, answer[5] if answer else 0)

    async def ahead(self, board: BoardKey, score: int, reached_before_us: int) -> Ahead:
        """As BoardReader; raises as `top`, and ValueError for an instant before 1970 or after 2112."""
        names = (keys.places(board), keys.meta(board))
        answer = await run(self._redis, _AHEAD, names, (-score, encode_reached_us(reached_before_us)))
        if answer is None:
            raise NotReady
        epoch, sequence, count = answer
        return Ahead(count, approximate=False, version=shown_version(int(epoch), int(sequence)))

    async def _places(self, asked: Sequence[_Asked]) -> Sequence[Any]:
        return await run_for(self._redis, asked, _looking, CALL_MAX)


def _looking(asked: Sequence[_Asked]) -> Call:
    names = [name for board, _, _ in asked for name in (keys.places(board), keys.versions(board), keys.meta(board))]
    players: list[str | int] = []
    for _, user_id, each_side in asked:
        players += (user_id, each_side)
    return Call(_AROUND, [keys.USERS, keys.REFS, *names], players)


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
    return Row(rank, user_id, username, -int(float(minus_score)), reached_us(member))
