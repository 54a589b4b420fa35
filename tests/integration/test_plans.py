"""How Postgres goes about what a batch asks of it."""

from __future__ import annotations

import asyncpg

from mesh.postgres import create_pool
from mesh.sql import Connection, load
from tests.servers import Database

READ_ROWS = load("board", "ledger.sql")["read_rows"]
EAGER = "SET debug_parallel_query = on"  # Postgres then takes a parallel plan wherever one is allowed


async def test_a_batch_starts_no_process_of_postgres(database: Database) -> None:
    """With many players the look for known updates took a parallel plan: 20 ms a batch, and as much of a core."""
    pool = await create_pool(database.url("worker"), name="test", size=1)
    plain = await asyncpg.connect(database.url("worker"))
    try:
        async with pool.acquire() as ours:
            assert "Gather" in await _plan(plain)
            assert "Gather" not in await _plan(ours)
    finally:
        await plain.close()
        await pool.close()


async def _plan(conn: Connection) -> str:
    await conn.execute(EAGER)
    rows = await conn.fetch(f"EXPLAIN {READ_ROWS}", [])
    return "\n".join(row[0] for row in rows)
