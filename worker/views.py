"""Keeps the boards in Redis equal to Postgres: writes each batch, builds what is missing, heals what missed a write.

Holds always: what was committed and could not be written is remembered and written before long, or its board is built
anew; a board of a Redis or a Postgres that was replaced is not served until it is rebuilt. No lock decides that:
versions do. The advisory lock only spares two workers the same work.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import keys, view
from board.catalogue_cache import CatalogueCache
from board.entry import BoardKey, Entry, UserName
from board.period_store import StoredPeriod, close_periods, ensure_periods, open_periods
from mesh.redis import Breaker
from mesh.sql import Connection, load
from worker.apply import Applied
from worker.failure import is_nobodys

log = logging.getLogger(__name__)
_SQL = load("worker", "views.sql")

LOCK = 0x5C02EB0A2E  # any number, as long as nothing else in the database takes it
LOOK_S = 1.0  # a replaced Redis or Postgres is noticed within this
AHEAD = timedelta(seconds=10)  # a period's board is built before its first update
MISSED_MAX = 20_000  # entries to write again, about 10 MB; past it whole boards are cheaper
SOURCE = "source"  # field of a board's meta: the Redis process and the database that it was built by


class Views:
    """The boards in Redis, as one worker sees to them."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis, catalogues: CatalogueCache) -> None:
        self._pool = pool
        self._redis = redis
        self._catalogues = catalogues
        self._breaker = Breaker()
        self._wake = asyncio.Event()
        self._made: set[BoardKey] = set()  # periods that are in the table
        self._lost: set[BoardKey] = set()  # boards to build anew: Redis lacks them, or they missed too much
        self._missed: dict[tuple[BoardKey, int], Entry] = {}
        self._missed_names: dict[int, UserName] = {}
        self.is_settled = False  # true while all open boards are readable, or Redis is away and Postgres answers

    async def write(self, applied: Applied) -> None:
        """Writes committed entries. Never raises for a Redis that is away: they are remembered instead."""
        if not applied.entries:
            return
        if self._breaker.is_open:
            self._remember(applied.entries, applied.names)
            return
        try:
            await self._write_missed()
            await self._write(applied.entries, applied.names)
        except (RedisError, OSError) as e:
            self._fail(e)
            self._remember(applied.entries, applied.names)

    async def keep(self) -> None:
        """Looks after all open boards, each second and when a board is found missing, until cancelled."""
        while True:
            try:
                await self._look()
            except Exception as e:
                self.is_settled = False
                if not is_nobodys(e):
                    raise
                log.debug("Boards not looked at", extra={"event": "views_wait", "error": type(e).__name__})
            self._wake.clear()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(LOOK_S / 20)  # several writers miss a board at once: one look serves them

    async def _look(self) -> None:
        now = datetime.now(UTC)
        await self._make_periods(now)
        periods = await open_periods(self._pool)
        due = [stored.board for stored in periods if _is_due(stored, now)]
        wanted = [stored.board for stored in periods if not _is_due(stored, now)]
        database: str = await self._pool.fetchval(_SQL["read_source"])
        try:
            source = f"{(await self._redis.info('server'))['run_id']}.{database}"
            await self._write_missed()
            is_ready = [await self._rebuild_unless_ready(board, source) for board in wanted]
            for board in due:
                await view.drop(self._redis, board)
        except RedisError as e:
            self._fail(e)
            self.is_settled = True
            return
        self._breaker.worked()
        self._lost.intersection_update(wanted)
        self.is_settled = all(is_ready)
        if due:
            await close_periods(self._pool)
            log.info("Periods closed", extra={"event": "periods_closed", "boards": [board.tag for board in due]})

    async def _make_periods(self, now: datetime) -> None:
        boards = self._catalogues.current.boards.values()
        wanted = [(board.board_id, board, board.period_at(at)) for board in boards for at in (now, now + AHEAD)]
        if not {BoardKey(board_id, period.start) for board_id, _, period in wanted} <= self._made:
            self._made = {stored.board for stored in await ensure_periods(self._pool, wanted)}

    async def _rebuild_unless_ready(self, board: BoardKey, source: str) -> bool:
        if await self._is_right(board, source):
            return True
        async with self._pool.acquire() as conn:
            if not await conn.fetchval(_SQL["try_lock"], LOCK):
                return False
            try:
                # Another worker may have built it while we asked.
                return await self._is_right(board, source) or await self._rebuild(board, source)
            finally:
                await _unlock(conn)

    async def _is_right(self, board: BoardKey, source: str) -> bool:
        if board in self._lost:
            return False
        state, built_by = await self._redis.hmget(keys.meta(board), "state", SOURCE)
        return bool(state == b"ready" and built_by == source.encode())

    async def _rebuild(self, board: BoardKey, source: str) -> bool:
        self._lost.discard(board)  # a write that is missed from here on is newer than this rebuild's snapshot
        try:
            # Suspect always: a board of another Redis or database, or one that missed writes, may show what never was.
            rebuilt = await view.rebuild(self._pool, self._redis, board, suspect=True)
            if rebuilt is not None:
                await self._redis.hset(keys.meta(board), SOURCE, source)
        except BaseException:
            self._lost.add(board)
            raise
        if rebuilt is None:
            return False
        log.info(
            "Board rebuilt",
            extra={"event": "board_rebuilt", "board": board.tag, "entries": rebuilt.entries, "epoch": rebuilt.epoch},
        )
        return True

    async def _write_missed(self) -> None:
        while self._missed:
            entries, names = self._missed, self._missed_names
            self._missed, self._missed_names = {}, {}
            try:
                await self._write(entries.values(), names.values())
            except BaseException:
                self._remember(entries.values(), names.values())
                raise
            log.info("Missed entries written", extra={"event": "missed_written", "entries": len(entries)})

    async def _write(self, entries: Iterable[Entry], names: Iterable[UserName]) -> None:
        missing = await view.write_entries(self._redis, entries, names)
        self._breaker.worked()
        if missing:
            self._lost |= missing
            self._wake.set()

    def _remember(self, entries: Iterable[Entry], names: Iterable[UserName]) -> None:
        for entry in entries:
            key = (entry.board, entry.user_ref)
            known = self._missed.get(key)
            if known is None or known.version < entry.version:
                self._missed[key] = entry
        self._missed_names |= {name.user_ref: name for name in names}
        if len(self._missed) > MISSED_MAX:
            self._lost |= {board for board, _ in self._missed}
            self._missed, self._missed_names = {}, {}

    def _fail(self, error: Exception) -> None:
        if not self._breaker.is_open:
            log.warning("Redis away", extra={"event": "redis_away", "error": type(error).__name__})
        self._breaker.failed()


def _is_due(stored: StoredPeriod, now: datetime) -> bool:
    return stored.closes_at is not None and stored.closes_at <= now


async def _unlock(conn: Connection) -> None:
    try:
        await conn.execute(_SQL["unlock"], LOCK)
    except Exception as e:
        if not is_nobodys(e):
            raise
        # The lock went with its session.
