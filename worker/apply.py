"""Applies a batch of jobs in one transaction, in the order of DESIGN, decision 10: locks, reads, ledger, entries.

worker/decide.py decides, board/ledger.py binds the statements. Holds always: all of a batch is committed or nothing;
what is returned is what was committed; the same jobs applied again change nothing and return the present entries.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import asyncpg

from board import ledger
from board.catalogue import DEFAULT_BOARD, Catalogue
from board.catalogue_cache import CatalogueCache
from board.entry import BoardKey, Entry
from board.fold import LedgerChange, boards_touched, fold
from board.instant import EPOCH, from_us
from board.job_pb2 import Job
from board.ledger import LockedUser, Outcome, RecordedUpdate
from board.partitions import oldest_id
from board.period_store import ensure_periods
from board.update_id import first_id
from mesh import points
from mesh.sql import Connection, load
from worker.act import apply_act
from worker.applied import Applied, ClosingTimes
from worker.decide import Decided, Known, UsageKey, catalogue_refusal, decide, is_act, late, parked_result, sift
from worker.failure import CatalogueMissing
from worker.limits import is_limited

_SQL = load("worker", "apply.sql")

# An id carries its nonce's time: at most 5 minutes before the acceptance and 30 s after it (DESIGN, decision 3).
NONCE_BEFORE = timedelta(minutes=6)
NONCE_AFTER = timedelta(minutes=1)
#: Partitions of the ledger this young are never detached, so only older jobs ask where the oldest begins.
CERTAINLY_ATTACHED_US = 86_400_000_000


class TakenElsewhere(Exception):  # noqa: N818 — named for what happened
    """An id of this batch entered the ledger under another player meanwhile: the jobs must be looked at one by one."""


class Applier:
    """Applies batches with the catalogue that holds; several may run at once."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        catalogues: CatalogueCache,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._pool = pool
        self._catalogues = catalogues
        self._clock_us = clock_us
        self._closes_at: dict[BoardKey, datetime | None] = {}  # a period's closing time never changes

    def forget_periods(self) -> None:
        """Forgets which periods there are: another database may answer from now on."""
        self._closes_at.clear()

    async def apply(self, jobs: Sequence[Job]) -> Applied:
        """Applies the jobs: updates, or one act alone.

        Raises CatalogueMissing, or whatever the database raises, after undoing all of them.
        """
        good, parked = sift(jobs, await self._oldest_id(jobs))
        applied = Applied()
        if good:
            catalogue = await self._catalogue_for(good)
            found: dict[BoardKey, datetime | None] = {}
            async with self._pool.acquire() as conn, conn.transaction():
                closing = partial(self._closing_times, found)
                if is_act(good[0]):
                    applied = await apply_act(conn, good[0], catalogue, closing)
                else:
                    await _apply(conn, good, catalogue, closing, applied)
                points.reached("worker.before_commit")
            self._closes_at |= found  # only now: a period's row that was undone has to be made again
        applied.parked += parked
        applied.results |= {job.update_id: parked_result(job, reason) for job, reason in parked}
        return applied

    async def _catalogue_for(self, jobs: Iterable[Job]) -> Catalogue:
        actions = self._catalogues.current.actions
        would_refuse = any(catalogue_refusal(job, actions.get(job.action_id)) for job in jobs if not is_act(job))
        # A refusal is for good, and score_svc may know a newer catalogue.
        if would_refuse and not await self._catalogues.learn():
            raise CatalogueMissing("the catalogue cannot be read")
        if not self._catalogues.is_loaded:
            raise CatalogueMissing("no catalogue was applied yet")
        return self._catalogues.current

    async def _oldest_id(self, jobs: Iterable[Job]) -> bytes:
        surely = first_id(from_us(self._clock_us() - CERTAINLY_ATTACHED_US)).bytes
        if all(job.update_id >= surely for job in jobs):
            return surely
        oldest = await oldest_id(self._pool)
        return oldest.bytes if oldest is not None else b""

    async def _closing_times(
        self,
        found: dict[BoardKey, datetime | None],
        conn: Connection,
        keys: Iterable[BoardKey],
        catalogue: Catalogue,
    ) -> Mapping[BoardKey, datetime | None]:
        """Returns when the periods close; adds to `found` those that were not known yet, whose rows it makes."""
        missing = [key for key in keys if key not in self._closes_at]
        if missing:
            by_id = {board.board_id: board for board in catalogue.boards.values()}
            boards = [(by_id[key.board_id], key) for key in missing]
            wanted = [(board.board_id, board, board.period_at(_inside(key))) for board, key in boards]
            found |= {stored.board: stored.closes_at for stored in await ensure_periods(conn, wanted)}
        return self._closes_at | found


async def _apply(
    conn: Connection, jobs: Sequence[Job], catalogue: Catalogue, closing: ClosingTimes, applied: Applied
) -> None:
    users, applied_at = await ledger.lock_users(conn, {job.user_id for job in jobs})
    points.reached("worker.after_locks")
    players = {user.user_id: user for user in users}
    known = await _read(conn, jobs, players, catalogue)
    decided = decide(jobs, known, catalogue.actions)
    applied.results, applied.parked = decided.results, list(decided.parked)
    applied.added, applied.known = decided.rows, len(known.ledger)
    touched: list[Entry] = []
    if decided.rows and applied_at is not None:
        touched = await _write(conn, decided, catalogue, applied_at, closing)
    again = await _read_again(conn, known.ledger.values(), catalogue)
    # Both are as this transaction leaves them, so which of two equal keys stays does not matter.
    applied.entries = list({(entry.board, entry.user_ref): entry for entry in (*again, *touched)}.values())
    shown = {entry.user_ref for entry in applied.entries}
    applied.names = [user.name for user in users if user.user_ref in shown]


async def _write(
    conn: Connection, decided: Decided, catalogue: Catalogue, applied_at: datetime, closing: ClosingTimes
) -> list[Entry]:
    rows = decided.rows
    added = await ledger.add_rows(conn, rows, revision=catalogue.revision, applied_at=applied_at)
    if len(added) < len(rows):
        raise TakenElsewhere
    changes = [row.change for row in rows if row.outcome is Outcome.APPLIED]
    boards = catalogue.boards.values()
    closes_at = await closing(conn, boards_touched(boards, changes), catalogue)
    folded = fold(boards, changes, applied_at=applied_at, closes_at=closes_at)
    entries = await ledger.put_entries(conn, folded, catalogue.boards[DEFAULT_BOARD].board_id)
    if decided.usage:
        await ledger.put_usage(conn, list(decided.usage.values()))
    return entries


def _inside(key: BoardKey) -> datetime:
    # The all-time board has no start to compare with; any instant lies in its one period.
    return EPOCH if key.period_start.tzinfo is None else key.period_start


async def _read(
    conn: Connection, jobs: Sequence[Job], players: Mapping[str, LockedUser], catalogue: Catalogue
) -> Known:
    recorded = await ledger.find_updates(conn, {UUID(bytes=job.update_id) for job in jobs})
    limited = {
        (players[job.user_id].user_ref, job.action_id)
        for job in jobs
        if job.user_id in players
        and (action := catalogue.actions.get(job.action_id)) is not None
        and is_limited(action)
    }
    if not limited:
        return Known(players, recorded, {})
    usage = await ledger.read_usage(conn, {ref for ref, _ in limited}, {action_id for _, action_id in limited})
    spans = late(jobs, players, usage, catalogue.actions)
    return Known(players, recorded, usage, await _counted_times(conn, spans) if spans else {})


async def _counted_times(
    conn: Connection, spans: Mapping[UsageKey, tuple[datetime, datetime]]
) -> dict[UsageKey, list[datetime]]:
    times: dict[UsageKey, list[datetime]] = defaultdict(list)
    rows = await conn.fetch(
        _SQL["counted_times"],
        [ref for ref, _ in spans],
        [action_id for _, action_id in spans],
        [since for since, _ in spans.values()],
        [until for _, until in spans.values()],
        [first_id(max(EPOCH, since - NONCE_BEFORE)) for since, _ in spans.values()],
        [first_id(max(EPOCH, until + NONCE_AFTER)) for _, until in spans.values()],
    )
    for row in rows:
        times[row["user_ref"], row["action_id"]].append(row["accepted_at"])
    return times


async def _read_again(conn: Connection, recorded: Iterable[RecordedUpdate], catalogue: Catalogue) -> list[Entry]:
    """Returns the entries of updates that the ledger had: what was committed may not have reached Redis."""
    applied = [row for row in recorded if row.outcome is Outcome.APPLIED]
    if not applied:
        return []
    changes = [LedgerChange(r.user_ref, r.action_id, r.score_change, None, r.accepted_at) for r in applied]
    keys = boards_touched(catalogue.boards.values(), changes)
    return await ledger.read_entries(conn, keys, {row.user_ref for row in applied})
