"""Builds anew the boards that an operator asked for (AdminService, RebuildBoard), while they are served.

Holds always: what was asked for stays in its table until it is done, so that another worker goes on when one ends; one
rebuild answers all who asked for its board before it began.
"""

import asyncio
import logging

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import view
from board.entry import BoardKey
from board.origin import read_origin
from mesh import points
from mesh.sql import load
from mesh.tasks import end
from worker.failure import is_nobodys
from worker.lock import REBUILD_LOCK, only_one

log = logging.getLogger(__name__)
_SQL = load("worker", "rebuilds.sql")

LOOK_S = 1.0
TELL_S = 0.25
COUNT_TIMEOUT_S = 60.0


class _Asked:
    """A board that was asked for. number: of the last who did. total: its entries, which is for show."""

    def __init__(self, pool: asyncpg.Pool, row: asyncpg.Record) -> None:
        self._pool = pool
        self.board = BoardKey(row["board_id"], row["period_start"])
        self.number: int = row["number"]
        self.is_open: bool = row["is_open"]
        self.total = 0
        self._written = 0

    def on_written(self, written: int) -> None:
        """Notes how many entries are there."""
        self._written = written
        points.reached("worker.rebuilding")

    async def keep_telling(self) -> None:
        """Tells those who asked how far it is, until cancelled."""
        told = -1
        while True:
            if self._written != told:
                told = self._written
                # Updates go on meanwhile: there may be more entries by now than were counted.
                total = max(self.total, told)
                await self._pool.execute(_SQL["tell"], *self.board, self.number, told, total)
            await asyncio.sleep(TELL_S)

    async def finish(self, entries: int) -> None:
        """Tells them that it is done."""
        await self._pool.execute(_SQL["finish"], *self.board, self.number, entries)


async def keep_rebuilding(pool: asyncpg.Pool, redis: Redis) -> None:
    """Looks each second until cancelled."""
    while True:
        is_done = False
        try:
            is_done = await rebuild_next(pool, redis)
        except Exception as e:
            if not (is_nobodys(e) or isinstance(e, RedisError)):
                raise
            log.info("A rebuild waits", extra={"event": "rebuild_waits", "error": type(e).__name__})
        await asyncio.sleep(0.0 if is_done else LOOK_S)


async def rebuild_next(pool: asyncpg.Pool, redis: Redis) -> bool:
    """Builds the board that was asked for first; False: none was, another worker is at it, or it must be tried again.

    Raises redis.exceptions.RedisError, asyncpg errors.
    """
    if not await pool.fetchval(_SQL["is_any_asked"]):
        return False
    async with only_one(pool, REBUILD_LOCK) as conn:
        row = await conn.fetchrow(_SQL["next"]) if conn is not None else None
        return row is not None and await _rebuild(pool, redis, _Asked(pool, row))


async def _count(pool: asyncpg.Pool, board: BoardKey) -> int:
    try:
        return int(await pool.fetchval(_SQL["count"], *board, timeout=COUNT_TIMEOUT_S))
    except TimeoutError:
        return 0  # whoever asked then sees what is done alone


async def _rebuild(pool: asyncpg.Pool, redis: Redis, asked: _Asked) -> bool:
    if not asked.is_open:  # it closed since: its view is gone, and readers ask Postgres
        await asked.finish(0)
        return True
    origin = (await read_origin(redis)).id
    # An empty Redis, or a board that is not served: worker/views.py comes first, and begins none that is right. Of two
    # rebuilds the later wins, so two that each begin anew when they lost would never end.
    if not origin or not await view.is_right(redis, asked.board, origin):
        return False
    asked.total = await _count(pool, asked.board)
    telling = asyncio.create_task(asked.keep_telling(), name="tell of a rebuild")
    try:
        rebuilt = await view.rebuild(pool, redis, asked.board, origin=origin, on_written=asked.on_written)
    finally:
        await end(telling)
    if rebuilt is None:
        return False
    await asked.finish(rebuilt.entries)
    log.info(
        "Board rebuilt for an operator",
        extra={"event": "board_rebuilt", "board": asked.board.tag, "entries": rebuilt.entries, "epoch": rebuilt.epoch},
    )
    return True
