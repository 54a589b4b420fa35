"""Compares the open boards with their views from time to time, and mends what nothing else noticed.

Holds always: a write on its way is no difference. What differs is read again a little later, Redis before Postgres: all
that Redis shows was committed by then, so what only Redis knows, or knows better, never came from this database.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import asyncpg
from asyncpg import Record
from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import view
from board.entry import BoardKey
from board.ledger import entry_of
from board.origin import end_origin
from board.period_store import open_periods
from board.shown import Shown, count_shown, read_shown, shown_of
from board.view import CHUNK_ENTRIES, name_of
from mesh.sql import Connection, load
from worker import figures
from worker.failure import is_nobodys
from worker.lock import RECONCILE_LOCK, only_one

log = logging.getLogger(__name__)
_SQL = load("worker", "reconcile.sql")

RATE_PER_S = 5_000  # entries: a tenth of a core of the worker, and half of that of Redis, while a pass lasts
SETTLE_S = 1.0  # longer than a committed batch is on its way to Redis
RETRY_S = 10.0  # how soon another worker takes over
COUNT_TIMEOUT_S = 60.0


class Verdict(Enum):
    """What is to be done about a player on a board."""

    RIGHT = 0
    BEHIND = 1  # it missed a write, which is written again
    WRONG_ENTRY = 2  # no write made it so: the board is built anew
    WRONG_NAME = 3  # the same of a name: all boards are, with all names


def judge(first: Shown, now: Shown, shown: Shown) -> Verdict:
    """Decides by what the view should have shown at first, what it shows, and what it should show now."""
    if _is_wrong(now.name_version, (now.name, now.user), shown.name_version, (shown.name, shown.user)):
        return Verdict.WRONG_NAME
    if _is_wrong(now.entry_version, (now.entry, now.minus), shown.entry_version, (shown.entry, shown.minus)):
        return Verdict.WRONG_ENTRY
    if shown.entry_version < first.entry_version or shown.name_version < first.name_version:
        return Verdict.BEHIND
    return Verdict.RIGHT


def _is_wrong(version: int, value: object, shown_version: int, shown: object) -> bool:
    return shown_version > version or (shown_version == version and shown != value)


@dataclass(slots=True)
class Pass:
    """What a pass met: entries compared, entries written again, boards to be built anew."""

    entries: int = 0
    healed: int = 0
    distrusted: int = 0


class Reconciler:
    """Compares all open boards each `interval_s` seconds, in one worker at a time."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis, interval_s: float) -> None:
        self._pool = pool
        self._redis = redis
        self._interval_s = interval_s

    async def keep(self) -> None:
        """Goes on until cancelled. Whoever has the lock keeps it, so that the others need no clock."""
        while True:
            try:
                async with only_one(self._pool, RECONCILE_LOCK) as conn:
                    while conn is not None:
                        await self.reconcile(conn)
                        await asyncio.sleep(self._interval_s)
            except Exception as e:
                if not (is_nobodys(e) or isinstance(e, RedisError)):
                    raise
                log.debug("Boards not compared", extra={"event": "reconcile_waits", "error": type(e).__name__})
            await asyncio.sleep(min(RETRY_S, self._interval_s))

    async def reconcile(self, conn: Connection) -> Pass:
        """Does one pass over the boards that are readable. Raises RedisError, asyncpg errors."""
        done = Pass()
        for stored in await open_periods(conn):
            if not await view.is_ready(self._redis, stored.board):
                continue
            verdict = await self._compare_board(conn, stored.board, done)
            if verdict in (Verdict.WRONG_ENTRY, Verdict.WRONG_NAME):
                await self._distrust(stored.board, verdict, done)
            if verdict is Verdict.WRONG_NAME:
                break  # the others have it too
        level = logging.WARNING if done.healed or done.distrusted else logging.INFO
        extra = {"entries": done.entries, "healed": done.healed, "distrusted": done.distrusted}
        log.log(level, "Boards compared", extra={"event": "reconciled", **extra})
        return done

    async def _distrust(self, board: BoardKey, verdict: Verdict, done: Pass) -> None:
        done.distrusted += 1
        figures.DISTRUSTS.child(verdict.name.lower()).inc()
        log.warning("A board is wrong", extra={"event": "board_wrong", "board": board.tag, "what": verdict.name})
        await view.distrust(self._redis, board)
        if verdict is Verdict.WRONG_NAME:
            await end_origin(self._redis)

    async def _compare_board(self, conn: Connection, board: BoardKey, done: Pass) -> Verdict:
        loop, last = asyncio.get_running_loop(), 0
        while rows := await conn.fetch(_SQL["entries_after"], *board, last, CHUNK_ENTRIES):
            began, last = loop.time(), rows[-1]["user_ref"]
            done.entries += len(rows)
            figures.COMPARED.inc(len(rows))
            if differing := await self._differing(board, rows):
                await asyncio.sleep(SETTLE_S)
                verdict = await self._mend(conn, board, differing, done)
                if verdict is not Verdict.RIGHT:
                    return verdict
            await asyncio.sleep(began + len(rows) / RATE_PER_S - loop.time())
        return Verdict.WRONG_ENTRY if await self._has_strays(conn, board) else Verdict.RIGHT

    async def _differing(self, board: BoardKey, rows: Sequence[Record]) -> dict[int, Shown]:
        """Returns what the view should show of the players of whom it shows something else."""
        wanted = {row["user_ref"]: _wanted(row) for row in rows}
        shown = await read_shown(self._redis, board, list(wanted))
        return {ref: want for (ref, want), found in zip(wanted.items(), shown, strict=True) if found != want}

    async def _mend(self, conn: Connection, board: BoardKey, first: Mapping[int, Shown], done: Pass) -> Verdict:
        """Writes again what the view missed. Returns what is wrong with the board, or RIGHT to go on."""
        shown = dict(zip(first, await read_shown(self._redis, board, list(first)), strict=True))
        rows = await conn.fetch(_SQL["entries_of"], *board, list(first))
        verdicts = [judge(first[row["user_ref"]], _wanted(row), shown[row["user_ref"]]) for row in rows]
        worst = max(verdicts, key=lambda verdict: verdict.value, default=Verdict.RIGHT)
        if worst is not Verdict.BEHIND:
            return worst
        behind = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict is Verdict.BEHIND]
        missing = await view.write_entries(self._redis, map(entry_of, behind), map(name_of, behind))
        if missing:
            return worst  # the board has gone meanwhile, and is somebody's to build
        done.healed += len(behind)
        figures.HEALED.inc(len(behind))
        return Verdict.RIGHT

    async def _has_strays(self, conn: Connection, board: BoardKey) -> bool:
        """Whether the view has more than the board, twice: all that the board has was found in it.

        As many entries on their way as there are strays would hide these, until the next pass.
        """
        for pause_s in (0.0, SETTLE_S):
            await asyncio.sleep(pause_s)
            known, places = await count_shown(self._redis, board)
            counted = await conn.fetchrow(_SQL["count_entries"], *board, timeout=COUNT_TIMEOUT_S)
            assert counted is not None
            if known <= counted["known"] and places <= counted["places"]:
                return False
        return True


def _wanted(row: Record) -> Shown:
    return shown_of(entry_of(row), name_of(row))
