"""Checks the audit chain: every sealed row is there as it was sealed, no seal is missing, none was made anew.

Reads alone. What it proves: rows under seals that a trusted key signed were not changed, removed, added to or moved
since they were sealed. What it does not: that a row was right when it was written; what came after the last seal; and,
without published seals to compare with, that the newest seals were not taken off with their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from board import partitions, seal_store
from board.seal import FIRST, Leaf, Seal, Tree, TrustedKeys, leaf_of

SEALS_PAGE = 500
DIFFERENCES_MAX = 1_000  # more say nothing new, and stay in memory


@dataclass(frozen=True, slots=True)
class Difference:
    """What is wrong. seal_no: 0 for what no seal covers. row: an update's id, `admin log N`, or empty for the seal."""

    seal_no: int
    row: str
    what: str


@dataclass(slots=True)
class Audit:
    """What a check found. archived: sealed rows whose months are not attached any more. sealed_at: of the last seal."""

    seals: int = 0
    rows: int = 0
    archived: int = 0
    sealed_at: datetime | None = None
    unsealed: int = 0
    unsealed_since: datetime | None = None
    published: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, seal_no: int, what: str, row: object = "") -> None:
        """Notes a difference; of very many the first ones."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(Difference(seal_no, str(row), what))


class Chain:
    """Follows the seals one by one, each against the one before it."""

    def __init__(self, keys: TrustedKeys, audit: Audit) -> None:
        self._keys = keys
        self._audit = audit
        self._before: Seal | None = None

    def follow(self, seal: Seal, stands_on: bytes = FIRST) -> None:
        """Notes what is wrong with the next seal itself. stands_on: of the first one, the seal before it."""
        no, before = seal.seal_no, self._before
        expected = before.seal_no + 1 if before is not None else 1
        is_linked = no == expected or (before is None and stands_on != FIRST)
        if not is_linked:
            gap = f"seal {expected} is" if no == expected + 1 else f"seals {expected} to {no - 1} are"
            self._audit.add(no, f"{gap} missing before it")
        if no == expected and seal.from_txid != (before.to_txid if before is not None else 0):
            self._audit.add(no, "it does not begin where the seal before it ends")
        if is_linked and seal.hash(before.seal if before is not None else stands_on) != seal.seal:
            self._audit.add(no, "the seal was changed, or the one before it")
        if not self._keys.has_signed(seal):
            self._audit.add(no, f"no trusted key signed it (key {seal.kid})")
        self._before = seal
        self._audit.seals += 1
        self._audit.sealed_at = seal.sealed_at


def compare_published(audit: Audit, seals: Mapping[int, bytes], published: Sequence[Seal]) -> None:
    """Notes published seals that the chain has not. seals: of the chain, by number."""
    said: set[tuple[int, bytes]] = set()
    for one in published:
        if (one.seal_no, one.seal) in said:
            continue
        said.add((one.seal_no, one.seal))
        found = seals.get(one.seal_no)
        if found is None:
            audit.add(one.seal_no, f"the seal that was published of {one.sealed_at} is missing")
        elif found != one.seal:
            audit.add(one.seal_no, f"another seal was published of {one.sealed_at}")
    audit.published = len(said)


async def check(
    pool: asyncpg.Pool,
    keys: TrustedKeys,
    published: Sequence[Seal] = (),
    *,
    rows_from: int = 1,
    tell: Callable[[Audit], None] = lambda _: None,
) -> Audit:
    """Checks all seals, and the rows under those from number `rows_from` on. tell: is called after each seal.

    Raises asyncpg errors.
    """
    audit = Audit()
    chain, rows = Chain(keys, audit), _Rows(pool, audit)
    hashes: dict[int, bytes] = {}
    last: Seal | None = None
    while page := await seal_store.seals_after(pool, last.seal_no if last is not None else 0, SEALS_PAGE):
        for seal in page:
            chain.follow(seal)
            hashes[seal.seal_no] = seal.seal
            if seal.seal_no >= rows_from:
                await rows.check(seal)
            tell(audit)
        last = page[-1]
    await rows.say_where()
    compare_published(audit, hashes, published)
    await _look_at_the_rest(pool, audit, last)
    return audit


async def _look_at_the_rest(pool: asyncpg.Pool, audit: Audit, last: Seal | None) -> None:
    rest = await seal_store.unsealed(pool, last.to_txid if last is not None else 0)
    audit.unsealed, audit.unsealed_since = rest.rows, rest.since
    if rest.from_the_future:
        audit.add(0, f"{rest.from_the_future} rows name transactions that there were not yet")


class _Rows:
    """Compares rows with their seals; what is gone from one may stand in another."""

    def __init__(self, pool: asyncpg.Pool, audit: Audit) -> None:
        self._pool = pool
        self._audit = audit
        self._gone: dict[UUID, int] = {}  # ledger rows that their seals miss
        self._added: list[tuple[int, Leaf]] = []

    async def check(self, seal: Seal) -> None:
        tree = Tree()
        async for line in seal_store.lines(self._pool, seal.from_txid, seal.to_txid):
            tree.add(leaf_of(line).hash)
        self._audit.rows += seal.row_count
        if (tree.count, tree.root()) != (seal.row_count, seal.root):
            await self._find(seal)

    async def _find(self, seal: Seal) -> None:
        """Notes which rows differ, by the leaves that were kept."""
        kept = await seal_store.leaves(self._pool, seal.seal_no)
        if (len(kept), Tree(leaf.hash for leaf in kept).root()) != (seal.row_count, seal.root):
            self._audit.add(seal.seal_no, "rows differ; which ones cannot be told: their list was changed too")
            return
        lines = [leaf_of(line) async for line in seal_store.lines(self._pool, seal.from_txid, seal.to_txid)]
        found, known = {leaf.key: leaf for leaf in lines}, {leaf.key for leaf in kept}
        oldest = await partitions.oldest_id(self._pool)
        for leaf in kept:
            now = found.get(leaf.key)
            if now is not None and now.hash != leaf.hash:
                self._audit.add(seal.seal_no, "the row was changed", leaf)
            elif now is None and leaf.row_id is None:
                self._audit.add(seal.seal_no, "the row was removed", leaf)
            elif now is None and leaf.row_id is not None:
                if oldest is not None and leaf.row_id < oldest:
                    self._audit.archived += 1
                elif len(self._gone) < DIFFERENCES_MAX:
                    self._gone[leaf.row_id] = seal.seal_no
        self._added += [(seal.seal_no, leaf) for leaf in lines if leaf.key not in known][:DIFFERENCES_MAX]

    async def say_where(self) -> None:
        """Notes what was removed, what was added, and what was moved from one place to another."""
        now = await seal_store.where_now(self._pool, list(self._gone))
        for row_id, seal_no in self._gone.items():
            what = "the row was removed"
            if row_id in now:
                what = f"the row was moved to transaction {now[row_id]}"
            self._audit.add(seal_no, what, row_id)
        for seal_no, leaf in self._added:
            if leaf.row_id is None or leaf.row_id not in self._gone:
                self._audit.add(seal_no, "the row was added", leaf)
