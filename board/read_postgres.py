"""Reads boards from the entries in Postgres: what answers while Redis is away, slower and without a version."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from board.entry import BoardKey
from board.read import RANK_EXACT_MAX, Page, Place, Row
from mesh.sql import load

PLAYERS_FRESH_S = 1.0  # counting a million entries takes 60 ms: once a second and board
BOARDS_COUNTED_MAX = 1_000  # past periods are asked for too, and would add up

_SQL = load(__package__, "read.sql")


class PostgresReader:
    """A `board.read.BoardReader` over `board_entries`. Ranks past RANK_EXACT_MAX are approximate."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._players: dict[BoardKey, tuple[float, int]] = {}  # counted at (monotonic), how many

    async def top(self, board: BoardKey, offset: int, limit: int) -> Page:
        """As BoardReader; raises the errors of mesh.postgres.AWAY when Postgres is away."""
        async with self._snapshot() as connection:
            rows = await connection.fetch(_SQL["top"], *board, offset, limit)
            players = await self._count(connection, board)
        return Page(_rows(rows, offset), players, 0)

    async def place(self, board: BoardKey, user_id: str) -> Place | None:
        """As BoardReader; raises as `top`."""
        async with self._snapshot() as connection:
            if (entry := await connection.fetchrow(_SQL["entry"], *board, user_id)) is None:
                return None
            better = await self._better(connection, board, entry)
            players = await self._count(connection, board)
        row = Row(better + 1, entry["user_id"], entry["username"], entry["score"])
        return Place(row, players, approximate=better > RANK_EXACT_MAX, version=0)

    async def around(self, board: BoardKey, user_id: str, each_side: int) -> Page | None:
        """As BoardReader; raises as `top`."""
        async with self._snapshot() as connection:
            if (entry := await connection.fetchrow(_SQL["entry"], *board, user_id)) is None:
                return None
            before = await connection.fetch(_SQL["before"], *board, *_key(entry), each_side)
            after = await connection.fetch(_SQL["after"], *board, *_key(entry), each_side)
            better = await self._better(connection, board, entry)
            players = await self._count(connection, board)
        return Page(_rows([*reversed(before), entry, *after], better - len(before)), players, 0)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]:
        # Several statements have to see one state of the board.
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _better(
        self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", board: BoardKey, entry: asyncpg.Record
    ) -> int:
        return int(await connection.fetchval(_SQL["better"], *board, *_key(entry), RANK_EXACT_MAX + 1))

    async def _count(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", board: BoardKey) -> int:
        counted_at, players = self._players.get(board, (float("-inf"), 0))
        if time.monotonic() - counted_at > PLAYERS_FRESH_S:
            players = await connection.fetchval(_SQL["players"], *board)
            if len(self._players) >= BOARDS_COUNTED_MAX:
                self._players.clear()
            self._players[board] = (time.monotonic(), players)
        return players


def _key(entry: asyncpg.Record) -> tuple[object, ...]:
    return (-entry["score"], entry["reached_at"], entry["user_ref"])


def _rows(records: list[asyncpg.Record], skipped: int) -> tuple[Row, ...]:
    return tuple(
        Row(rank, record["user_id"], record["username"], record["score"])
        for rank, record in enumerate(records, start=skipped + 1)
    )
