"""Makes the workers rest, or go on: one row that each of them looks at every second (worker/pause.py)."""

import asyncpg

from board import acts
from mesh.identity import Identity
from mesh.sql import load

_SQL = load(__package__, "pause.sql")


async def set_paused(pool: asyncpg.Pool, operator: Identity, is_paused: bool, reason: str) -> None:
    """Sets it, with a line in the admin log unless it is so already."""
    async with pool.acquire() as conn, conn.transaction():
        if await conn.fetchval(_SQL["set_paused"], is_paused) is None:
            return
        await acts.log_act(
            conn,
            actor=operator.subject,
            action="pause" if is_paused else "resume",
            target="workers",
            reason=reason,
            before={"paused": not is_paused},
            after={"paused": is_paused},
        )


async def read_paused(pool: asyncpg.Pool) -> bool:
    """Returns whether the workers are to rest."""
    return bool(await pool.fetchval(_SQL["read_paused"]))
