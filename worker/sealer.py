"""Seals finished rows of the ledger and the admin log, one sealer at a time, and publishes each seal.

Holds always: a seal ends where a transaction that is still open could write (so that no row comes late into a sealed
range), begins where the one before ended, and its number is taken once: a sealer that was stopped, or a second one,
can add nothing beside the chain. It reads what was committed and writes its own tables: no update waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from board import seal_store
from board.seal import FIRST, Range, Seal, SealKey, Tree, leaf_of, published
from board.seal_store import Finished
from mesh import points
from mesh.sql import Connection
from worker.failure import is_nobodys
from worker.lock import SEAL_LOCK
from worker.seals_file import SealsFile

log = logging.getLogger(__name__)

SEAL_ROWS_MAX = 50_000  # 2.5 MB of leaves: a ledger that was never sealed is sealed in parts of this size
IDLE_S = 20.0  # a sealer that was stopped holds the lock no longer
RETRY_S = 5.0
PUBLISHED_AT_ONCE = 1_000
#: Another sealer was faster, or this one was stopped for so long that Postgres ended its transaction.
OTHER_SEALER = (asyncpg.UniqueViolationError, asyncpg.IdleInTransactionSessionTimeoutError)


async def keep_sealing(pool: asyncpg.Pool, key: SealKey | None, file: Path | None, interval_s: float) -> None:
    """Seals until cancelled; without a key it says so and ends. file: where seals are published beside the log."""
    if key is None:
        log.warning("Nothing is sealed: SCOREBOARD_AUDIT_KEY_FILE is not set", extra={"event": "seals_off"})
        return
    await Sealer(pool, key, SealsFile(file) if file is not None else None, interval_s).keep()


class Sealer:
    """Seals each `interval_s` seconds with this key."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        key: SealKey,
        file: SealsFile | None,
        interval_s: float,
        *,
        rows_max: int = SEAL_ROWS_MAX,
        idle_s: float = IDLE_S,
    ) -> None:
        self._pool = pool
        self._key = key
        self._file = file
        self._interval_s = interval_s
        self._rows_max = rows_max
        self._idle_s = idle_s
        self._is_forked = False  # and said so

    async def keep(self) -> None:
        """Goes on until cancelled."""
        while True:
            try:
                await self.publish_missing()
                await self.seal_all()
            except Exception as e:
                if not (is_nobodys(e) or isinstance(e, OTHER_SEALER)):
                    raise
                log.info("Seals wait", extra={"event": "seals_wait", "error": type(e).__name__})
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(self._interval_s)

    async def seal_all(self) -> list[Seal]:
        """Seals what is finished now; none when there is nothing, or another one seals. Raises asyncpg errors."""
        made: list[Seal] = []
        until: int | None = None
        while until is None or (made and made[-1].to_txid < until):
            seal, below = await self.seal_next()
            until = below if until is None else until
            if seal is None:
                break
            made.append(seal)
        return made

    async def seal_next(self) -> tuple[Seal | None, int]:
        """Adds the next seal and publishes it; None: no finished row is without one.

        Tells below which transaction all are finished, too.
        """
        async with self._pool.acquire() as conn, conn.transaction():
            if not await seal_store.try_lock(conn, SEAL_LOCK, self._idle_s):
                return None, 0
            last, now = await seal_store.last_seal(conn), await seal_store.finished(conn)
            seal, packed = await self._next(conn, last, now)
            if seal is None:
                return None, now.below
            points.reached("worker.before_seal")
            await seal_store.add_seal(conn, seal, packed)
        points.reached("worker.after_seal")
        await self._publish(seal)
        return seal, now.below

    async def publish_missing(self) -> None:
        """Publishes what a sealer that died did not. Raises asyncpg errors."""
        last = await self._last_published()
        at = last.seal_no - 1 if last is not None else 0
        while self._file is not None:
            missing = await seal_store.seals_after(self._pool, at, PUBLISHED_AT_ONCE)
            if last is not None and missing[:1] != [last]:
                self._say_forked(last)
                return
            if not missing:
                return
            await self._write(missing)
            at, last = missing[-1].seal_no, None

    async def _last_published(self) -> Seal | None:
        return await asyncio.to_thread(self._file.last) if self._file is not None else None

    def _say_forked(self, last: Seal) -> None:
        if not self._is_forked:
            self._is_forked = True
            what = "The database has not the seal that was published last: it was restored, or tampered with"
            log.error(what, extra={"event": "seals_forked", "seal_no": last.seal_no})

    async def _next(self, conn: Connection, last: Seal | None, now: Finished) -> tuple[Seal | None, bytes]:
        from_txid = last.to_txid if last is not None else 0
        if now.below <= from_txid:
            # A dump that was loaded into a new cluster, whose numbers begin anew: docs/backup.md.
            if last is not None and last.cluster != now.cluster:
                log.error("Transaction numbers fell", extra={"event": "seals_stopped", "below": now.below})
            return None, b""
        to_txid = await seal_store.end_of(conn, from_txid, now.below, self._rows_max)
        tree, packed = Tree(), bytearray()
        async for line in seal_store.lines(conn, from_txid, to_txid):
            leaf = leaf_of(line)
            tree.add(leaf.hash)
            packed += leaf.packed
        if not tree.count:
            return None, b""
        covered = Range(
            seal_no=last.seal_no + 1 if last is not None else 1,
            cluster=now.cluster,
            from_txid=from_txid,
            to_txid=to_txid,
            row_count=tree.count,
            root=tree.root(),
            sealed_at=now.now,
        )
        return self._key.sign(covered, last.seal if last is not None else FIRST), bytes(packed)

    async def _publish(self, seal: Seal) -> None:
        log.info("Sealed", extra={"event": "sealed", **published(seal)})
        await self._write([seal])

    async def _write(self, seals: Sequence[Seal]) -> None:
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._file.add, seals)
        except OSError as e:  # the next round publishes what is missing
            log.error("Seals are not published", exc_info=e, extra={"event": "seals_unpublished"})
