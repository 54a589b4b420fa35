"""A ledger to seal: rows that tests write in transactions of their own, and a sealer with the worker's rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from board import audit
from board.audit_file import read_seals
from board.seal import SealKey, TrustedKeys
from board.update_id import derive_update_id
from mesh.sql import Connection
from tests.servers import Database
from worker.sealer import Sealer
from worker.seals_file import SealsFile

KEY = SealKey.new()
TRUSTED = TrustedKeys([KEY.public])
ADD_ROW = """INSERT INTO score_logs (id, user_ref, action_id, score_change, score_after, accepted_at)
             VALUES ($1, $2, 'win-round', 50, 50, $3)"""
ADD_LINE = "INSERT INTO admin_log (actor, action, target, reason) VALUES ('olga', 'ban', $1, 'speed hack')"


@dataclass
class Ledger:
    """A database with the pools of its owner and of the worker, and what was written."""

    database: Database
    owner: asyncpg.Pool
    worker: asyncpg.Pool
    file: Path
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ids: list[UUID] = field(default_factory=list)

    def sealer(self, key: SealKey = KEY, **settings: Any) -> Sealer:
        """Returns a sealer."""
        return Sealer(self.worker, key, SealsFile(self.file), 0.1, **settings)

    async def add(self, conn: Connection | asyncpg.Pool, rows: int = 1, *, lines: int = 0) -> list[UUID]:
        """Writes ledger rows and lines of the admin log, and returns the ids of the rows."""
        made = []
        for _ in range(rows):
            number = len(self.ids)
            at_ms = int(self.at.timestamp() * 1000)
            update_id = derive_update_id(at_ms, reporter="", user_id=f"u{number}", nonce=f"n{number}")
            self.ids.append(update_id)
            made.append(update_id)
            await conn.execute(ADD_ROW, update_id, number + 1, self.at)
        for number in range(lines):
            await conn.execute(ADD_LINE, str(number))
        return made

    async def check(self, **options: Any) -> audit.Audit:
        """Returns what `audit verify` finds, with the published seals to compare with."""
        published = read_seals(self.file) if self.file.exists() else []
        return await audit.check(self.owner, TRUSTED, published, **options)

    async def whole(self) -> audit.Audit:
        """Returns the same, and asserts that nothing differs."""
        found = await self.check()
        assert found.differences == []
        return found

    async def wrong(self) -> list[tuple[int, str, str]]:
        """Returns the differences."""
        return [(one.seal_no, one.row, one.what) for one in (await self.check()).differences]

    @asynccontextmanager
    async def open_transaction(self) -> AsyncIterator[tuple[Connection, Any]]:
        """Yields a connection in a transaction that has its number already; the caller ends it."""
        async with self.owner.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            await conn.fetchval("SELECT pg_current_xact_id()")
            yield conn, transaction


@asynccontextmanager
async def ledger_of(database: Database, folder: Path) -> AsyncIterator[Ledger]:
    """Yields an empty ledger."""
    async with (
        asyncpg.create_pool(database.url(), min_size=0, max_size=8) as owner,
        asyncpg.create_pool(database.url("worker"), min_size=0, max_size=8) as worker,
    ):
        yield Ledger(database, owner, worker, folder / "seals.jsonl")
