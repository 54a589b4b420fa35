"""Fills the ledger of a mesh with months of updates by SQL."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import asyncpg

from bench.mesh import Mesh
from board import seal_store
from board.update_id import first_id
from scoreboard.local.postgres import SUPERUSER

# Ids as the worker derives them: the milliseconds of an instant within the month, then what looks like a digest.
_ROWS = """
INSERT INTO score_logs (id, user_ref, action_id, score_change, score_after, accepted_at, applied_at, revision)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
        || '7' || substr(digest, 1, 3) || '8' || substr(digest, 4, 15))::uuid,
       users[(1 + n % cardinality(users))::int], 'collect-coin', 1, n, at, at, 1
FROM (SELECT array_agg(id) AS users FROM users) u,
     (SELECT n, $2::timestamptz + ($3::timestamptz - $2) * (n::float8 / ($1 + 1)) AS at, md5($2::text || n) AS digest
      FROM generate_series(1::bigint, $1::bigint) AS n) r
"""

SEALED_TIMEOUT_S = 600.0
POLL_S = 0.5


async def add_months(mesh: Mesh, months: int, rows: int) -> None:
    """Adds so many updates in each of the months up to now, spread over all players; partitions that lack are made.

    The players' entries stay as they are, so that `scoreboard verify` differs. Leaves no vacuum, no checkpoint and no
    row to seal for the measurement that follows.
    """
    until = datetime.now(UTC)
    async with mesh.postgres() as owner:
        for _ in range(months):
            since = (until - timedelta(microseconds=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            await _ensure_partition(owner, since)
            await owner.execute(_ROWS, rows, since, until)
            until = since
        await owner.execute("VACUUM (ANALYZE) score_logs")
        until_s = time.monotonic() + SEALED_TIMEOUT_S
        while await _unsealed(owner):
            assert time.monotonic() < until_s, f"not all rows are sealed after {SEALED_TIMEOUT_S:.0f} s"
            await asyncio.sleep(POLL_S)
    async with mesh.postgres(SUPERUSER) as superuser:
        await superuser.execute("CHECKPOINT")


async def _unsealed(owner: asyncpg.Connection) -> int:
    last = await seal_store.last_seal(owner)
    return (await seal_store.unsealed(owner, last.to_txid if last is not None else 0)).rows


async def _ensure_partition(owner: asyncpg.Connection, month: datetime) -> None:
    name, end = f"score_logs_{month:%Y_%m}", (month + timedelta(days=31)).replace(day=1)
    if await owner.fetchval("SELECT to_regclass($1)", f"public.{name}") is None:
        await owner.execute(
            f"CREATE TABLE {name} PARTITION OF score_logs FOR VALUES FROM ('{first_id(month)}') TO ('{first_id(end)}')"
        )
