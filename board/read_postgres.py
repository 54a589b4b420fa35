"""Reads boards from the entries in Postgres: what answers while Redis is away, slower and without a version."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from board.entry import BoardKey
from board.instant import from_us, to_us
from board.read import RANK_EXACT_MAX, Ahead, Page, Place, Row
from mesh.sql import load

PLAYERS_FRESH_S = 1.0  # counting a million entries takes 60 ms: once a second and board
BOARDS_KEPT_MAX = 1_000  # past periods are asked for too, and would add up

_SQL = load(__package__, "read.sql")
K = TypeVar("K")
V = TypeVar("V")


class PostgresReader:
    """A `board.read.BoardReader` over `board_entries`. Ranks past RANK_EXACT_MAX are approximate.

    top_life_s: for so long a page of the top is given again to whoever asks for the same.
    """

    def __init__(self, pool: asyncpg.Pool, *, top_life_s: float = 0.0) -> None:
        self._pool = pool
        self._top_life_s = top_life_s
        self._tops: dict[tuple[BoardKey, int, int], tuple[float, Page]] = {}  # read from (monotonic), page
        self._players: dict[BoardKey, tuple[float, int]] = {}  # counted at (monotonic), how many

    async def top(self, board: BoardKey, offset: int, limit: int) -> Page:
        """As BoardReader; raises the errors of mesh.postgres.AWAY when Postgres is away."""
        asked, started = (board, offset, limit), time.monotonic()
        if asked in self._tops and started - self._tops[asked][0] < self._top_life_s:
            return self._tops[asked][1]
        async with self._snapshot() as connection:
            rows = await connection.fetch(_SQL["top"], *board, offset, limit)
            players = await self._count(connection, board)
        page = Page(_rows(rows, offset), players, 0)
        if self._top_life_s:
            _keep(self._tops, asked, (started, page))
        return page

    async def place(self, board: BoardKey, user_id: str) -> Place | None:
        """As BoardReader; raises as `top`."""
        async with self._snapshot() as connection:
            if (entry := await connection.fetchrow(_SQL["entry"], *board, user_id)) is None:
                return None
            better = await self._better(connection, board, _key(entry))
            players = await self._count(connection, board)
        (row,) = _rows([entry], better)
        return Place(row, players, approximate=better > RANK_EXACT_MAX, version=0)

    async def around(self, board: BoardKey, user_id: str, each_side: int) -> Page | None:
        """As BoardReader; raises as `top`."""
        async with self._snapshot() as connection:
            if (entry := await connection.fetchrow(_SQL["entry"], *board, user_id)) is None:
                return None
            before = await connection.fetch(_SQL["before"], *board, *_key(entry), each_side)
            after = await connection.fetch(_SQL["after"], *board, *_key(entry), each_side)
            better = await self._better(connection, board, _key(entry))
            players = await self._count(connection, board)
        return Page(_rows([*reversed(before), entry, *after], better - len(before)), players, 0)

    async def ahead(self, board: BoardKey, score: int, reached_before_us: int) -> Ahead:
        """As BoardReader; raises as `top`."""
        async with self._snapshot() as connection:
            better = await self._better(connection, board, (-score, from_us(reached_before_us), 0))
        return Ahead(better, approximate=better > RANK_EXACT_MAX, version=0)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]:
        # Several statements have to see one state of the board.
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _better(
        self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", board: BoardKey, key: tuple[object, ...]
    ) -> int:
        return int(await connection.fetchval(_SQL["better"], *board, *key, RANK_EXACT_MAX + 1))

    async def _count(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", board: BoardKey) -> int:
        counted_at, players = self._players.get(board, (float("-inf"), 0))
        if time.monotonic() - counted_at > PLAYERS_FRESH_S:
            players = await connection.fetchval(_SQL["players"], *board)
            _keep(self._players, board, (time.monotonic(), players))
        return players


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    if len(kept) >= BOARDS_KEPT_MAX:
        kept.clear()
    kept[key] = value


def _key(entry: asyncpg.Record) -> tuple[object, ...]:
    return (-entry["score"], entry["reached_at"], entry["user_ref"])


def _rows(records: list[asyncpg.Record], skipped: int) -> tuple[Row, ...]:
    return tuple(
        Row(rank, record["user_id"], record["username"], record["score"], to_us(record["reached_at"]))
        for rank, record in enumerate(records, start=skipped + 1)
    )
