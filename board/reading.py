"""Reads boards from Redis, and from Postgres while Redis is away or its board is not ready.

Holds always: the version that a process shows of a board never falls; what Postgres answers repeats the last one.
A view that lies behind what was shown (Redis came back from an old snapshot) is not ready until it was rebuilt.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from redis.exceptions import RedisError

from board.entry import BoardKey
from board.read import Ahead, BoardReader, NotReady, Page, Place
from mesh import metrics
from mesh.breaker import Breaker

A = TypeVar("A", Page, Place, Ahead)

_READS = metrics.counter("scoreboard_board_reads_total")
_BY_REDIS, _BY_POSTGRES = _READS.child("redis"), _READS.child("postgres")

BOARDS_SHOWN_MAX = 10_000  # some 100 bytes each; past periods are asked for too, and would add up


class BoardReading:
    """The two readers as one. Each answer comes with `stale`: True when Postgres gave it."""

    def __init__(self, view: BoardReader, truth: BoardReader, breaker: Breaker) -> None:
        self._view = view
        self._truth = truth
        self._breaker = breaker
        self._shown: dict[BoardKey, int] = {}  # highest version by board

    async def top(self, board: BoardKey, offset: int, limit: int) -> tuple[Page, bool]:
        """Returns rows as BoardReader.top. Raises the errors of mesh.postgres.AWAY when both are away."""
        answer, stale = await self._read(board, lambda reader: reader.top(board, offset, limit))
        assert answer is not None, "top has an answer for every board"
        return answer, stale

    async def place(self, board: BoardKey, user_id: str) -> tuple[Place | None, bool]:
        """Returns a place as BoardReader.place; raises as `top`."""
        return await self._read(board, lambda reader: reader.place(board, user_id))

    async def around(self, board: BoardKey, user_id: str, each_side: int) -> tuple[Page | None, bool]:
        """Returns rows as BoardReader.around; raises as `top`."""
        return await self._read(board, lambda reader: reader.around(board, user_id, each_side))

    async def ahead(self, board: BoardKey, score: int, reached_before_us: int) -> tuple[Ahead, bool]:
        """Returns a count as BoardReader.ahead; raises as `top`."""
        answer, stale = await self._read(board, lambda reader: reader.ahead(board, score, reached_before_us))
        assert answer is not None, "ahead has an answer for every board"
        return answer, stale

    async def _read(self, board: BoardKey, ask: Callable[[BoardReader], Awaitable[A | None]]) -> tuple[A | None, bool]:
        if not self._breaker.is_open:
            try:
                answer = await ask(self._view)
                self._breaker.worked()
                if answer is not None:
                    self._show(board, answer.version)
                _BY_REDIS.inc()
                return answer, False
            except NotReady:
                pass
            except (RedisError, OSError):
                self._breaker.failed()
        answer = await ask(self._truth)
        _BY_POSTGRES.inc()
        return (answer and replace(answer, version=self._shown.get(board, 0))), True

    def _show(self, board: BoardKey, version: int) -> None:
        if version < self._shown.get(board, 0):
            raise NotReady
        if board not in self._shown and len(self._shown) >= BOARDS_SHOWN_MAX:
            self._shown.pop(next(iter(self._shown)))
        self._shown[board] = version
