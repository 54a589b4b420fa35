"""Keeps the boards in Redis equal to Postgres: writes each batch, builds what is missing, heals what missed a write.

Holds always: what was committed and could not be written is remembered and written before long, or its board is built
anew; a board that another Redis or another database made, or either before it went back in time, is not served until
it is rebuilt. No lock decides that: versions and the origin do. The lock only spares two workers the same work.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import view
from board.catalogue_cache import CatalogueCache
from board.entry import BoardKey, Entry, UserName
from board.ledger import Outcome
from board.origin import begin_origin, put_newest, read_origin
from board.period_store import StoredPeriod, close_periods, ensure_periods, open_periods
from mesh.redis import breaker
from mesh.sql import load
from worker import figures
from worker.applied import Applied
from worker.failure import is_nobodys
from worker.lock import VIEW_LOCK, only_one

log = logging.getLogger(__name__)
_SQL = load("worker", "views.sql")

LOOK_S = 1.0  # a replaced Redis or Postgres is noticed within this
AHEAD = timedelta(seconds=10)  # a period's board is built before its first update
MISSED_MAX = 20_000  # entries to write again, about 10 MB; past it whole boards are cheaper
SWEPT = timedelta(minutes=2)  # what a worker that died may have left unwritten is hardly older


class Views:
    """The boards in Redis, as one worker sees to them.

    redis: for each batch, with a short patience; patient: for all else. on_new_database: called when what is known of
    Postgres may be so no longer.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        redis: Redis,
        patient: Redis,
        catalogues: CatalogueCache,
        on_new_database: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._patient = patient
        self._catalogues = catalogues
        self._on_new_database = on_new_database
        self._breaker = breaker()
        self._wake = asyncio.Event()
        self._made: set[BoardKey] = set()  # periods that are in the table
        self._lost: set[BoardKey] = set()  # boards that missed too much: to build anew
        self._missed: dict[tuple[BoardKey, int], Entry] = {}
        self._missed_names: dict[int, UserName] = {}
        self._origin = ""  # that this worker knows; empty: none yet
        self._committed: UUID | None = None  # a ledger row of the last batch, committed under `_origin`
        self._seen_at: datetime | None = None  # Redis at the last look, by the database's clock
        self._sweep_from: datetime | None = None  # by the same clock; None: nothing to sweep
        self.is_settled = False  # true while all open boards are readable, or Redis is away and Postgres answers
        figures.SETTLED.read(lambda: self.is_settled)
        figures.MISSED.read(lambda: len(self._missed))

    async def write(self, applied: Applied) -> bool:
        """Writes committed entries. False, and nothing raised, for a Redis that is away: they are remembered then."""
        self._committed = _a_row(applied) or self._committed
        if not applied.entries and not applied.names:
            return True
        if self._breaker.is_open:
            self._remember(applied.entries, applied.names)
            return False
        try:
            await self._write_missed(self._redis)
            await self._write(self._redis, applied.entries, applied.names, applied.traces)
        except (RedisError, OSError) as e:
            self._fail(e)
            self._remember(applied.entries, applied.names)
            return False
        return True

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
        await self._make_periods(datetime.now(UTC))
        try:
            await self._look_at_boards()
        except RedisError as e:
            self._fail(e)
            self.is_settled = True
            if self._seen_at is not None and self._sweep_from is None:
                # What other workers missed meanwhile is lost with those of them that end before Redis is back.
                self._sweep_from = self._seen_at - SWEPT

    async def _look_at_boards(self) -> None:
        shown = await view.list_boards(self._patient)  # before the periods: what is made later is not taken for closed
        periods = await open_periods(self._pool)
        origin, now = await self._find_origin()
        await self._write_missed(self._patient)
        wanted = [stored.board for stored in periods if not _is_due(stored, now)]
        is_right = [await self._rebuild_unless_right(board, origin) for board in wanted]
        for board in shown.difference(wanted):
            await view.drop(self._patient, board)
        self._breaker.worked()
        self._seen_at = now
        self._lost.intersection_update(wanted)
        self.is_settled = all(is_right)
        if len(wanted) < len(periods):
            for closed in await close_periods(self._pool):
                log.info("Period closed", extra={"event": "period_closed", "board": closed.board.tag})
        if self.is_settled and self._sweep_from is not None:
            await self._sweep(self._sweep_from)

    async def _make_periods(self, now: datetime) -> None:
        boards = self._catalogues.current.boards.values()
        wanted = [(board.board_id, board, board.period_at(at)) for board in boards for at in (now, now + AHEAD)]
        if not {BoardKey(board_id, period.start) for board_id, _, period in wanted} <= self._made:
            self._made = {stored.board for stored in await ensure_periods(self._pool, wanted)}

    async def _find_origin(self) -> tuple[str, datetime]:
        """Returns the origin that boards must have, and the database's time; begins an origin where it is due."""
        mine = self._committed
        found = await read_origin(self._patient)
        if found.id != self._origin:
            mine = self._committed = None  # of the origin before
        rows = {row for row in (found.newest, mine) if row is not None}
        run_id = (await self._patient.info("server"))["run_id"]
        # After Redis: what it shows was committed by now.
        database = await self._pool.fetchrow(_SQL["read_database"], list(rows))
        assert database is not None
        source = f"{run_id}.{database['identity']}"
        origin, went_back = found.id, database["known"] < len(rows)
        if found.source != source or went_back:
            figures.DISTRUSTS.child("database_went_back" if went_back else "replaced").inc()
            log.warning(
                "Boards are not to be trusted",
                extra={"event": "view_distrusted", "cause": "database_went_back" if went_back else "replaced"},
            )
            origin = await begin_origin(self._patient, found.id, source, database["newest"])
        elif database["newest"] not in (None, found.newest):
            await put_newest(self._patient, database["newest"])
        if origin != self._origin:
            self._begin(origin, database["now"])
        return origin, database["now"]

    def _begin(self, origin: str, now: datetime) -> None:
        self._origin = origin
        self._made.clear()
        self._on_new_database()
        # What was committed before is in the rebuilds' snapshots or in the sweep, unless it was lost by the database:
        # then it must not be shown.
        self._committed = None
        self._missed, self._missed_names = {}, {}
        self._lost.clear()
        # At a worker's start: the one before it may have ended with writes that Redis did not take.
        self._sweep_from = now - SWEPT

    async def _rebuild_unless_right(self, board: BoardKey, origin: str) -> bool:
        if await self._is_right(board, origin):
            return True
        async with only_one(self._pool, VIEW_LOCK) as conn:
            # Another worker may have built it while we asked.
            return conn is not None and (await self._is_right(board, origin) or await self._rebuild(board, origin))

    async def _is_right(self, board: BoardKey, origin: str) -> bool:
        return board not in self._lost and await view.is_right(self._patient, board, origin)

    async def _rebuild(self, board: BoardKey, origin: str) -> bool:
        is_lost = board in self._lost
        self._lost.discard(board)  # a write that is missed from here on is newer than this rebuild's snapshot
        try:
            # Suspect always: a board of another origin, or one that missed writes, may show what never was.
            rebuilt = await view.rebuild(self._pool, self._patient, board, suspect=True, origin=origin)
        except BaseException:
            if is_lost:
                self._lost.add(board)
            raise
        if rebuilt is None:
            return False
        figures.REBUILDS.inc()
        log.info(
            "Board rebuilt",
            extra={"event": "board_rebuilt", "board": board.tag, "entries": rebuilt.entries, "epoch": rebuilt.epoch},
        )
        return True

    async def _sweep(self, since: datetime) -> None:
        async with only_one(self._pool, VIEW_LOCK) as conn:
            if conn is None:
                return  # at a later look
            try:
                written = await view.write_recent(conn, self._patient, since)
            except TimeoutError:
                # Too much for a sweep, then; the reconciliation finds it.
                log.warning("Not swept", extra={"event": "sweep_gave_up", "since": since.isoformat()})
            else:
                log.info("Recent entries written again", extra={"event": "swept", "entries": written})
        self._sweep_from = None

    async def _write_missed(self, redis: Redis) -> None:
        while self._missed or self._missed_names:
            entries, names = self._missed, self._missed_names
            self._missed, self._missed_names = {}, {}
            try:
                await self._write(redis, entries.values(), names.values())
            except BaseException:
                self._remember(entries.values(), names.values())
                raise
            log.info("Missed entries written", extra={"event": "missed_written", "entries": len(entries)})

    async def _write(
        self, redis: Redis, entries: Iterable[Entry], names: Iterable[UserName], traces: Sequence[str] = ()
    ) -> None:
        missing = await view.write_entries(redis, entries, names, traces)
        self._breaker.worked()
        if missing:
            # Whoever builds them takes a snapshot later than now, with these entries in it.
            self._wake.set()

    def _remember(self, entries: Iterable[Entry], names: Iterable[UserName]) -> None:
        for entry in entries:
            key = (entry.board, entry.user_ref)
            known = self._missed.get(key)
            if known is None or known.version < entry.version:
                self._missed[key] = entry
        for name in names:
            known_name = self._missed_names.get(name.user_ref)
            if known_name is None or known_name.version < name.version:
                self._missed_names[name.user_ref] = name
        if max(len(self._missed), len(self._missed_names)) > MISSED_MAX:
            self._lost |= {board for board, _ in self._missed}
            self._missed, self._missed_names = {}, {}

    def _fail(self, error: Exception) -> None:
        if not self._breaker.is_open:
            log.warning("Redis away", extra={"event": "redis_away", "error": type(error).__name__})
        self._breaker.failed()


def _a_row(applied: Applied) -> UUID | None:
    """Returns a ledger row of the transaction, or of one before it."""
    return next((UUID(bytes=key) for key, one in applied.results.items() if one.outcome == Outcome.APPLIED), None)


def _is_due(stored: StoredPeriod, now: datetime) -> bool:
    return stored.closes_at is not None and stored.closes_at <= now
