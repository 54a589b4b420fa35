"""Looks at the open boards: whether readers get them from Redis, built from the database that runs now."""

from __future__ import annotations

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from board import view
from board.entry import BoardKey
from board.origin import read_origin
from mesh.postgres import AWAY
from mesh.redis import connect
from mesh.sql import load
from scoreboard.cli.checks.finding import Finding, failed, ok

_SQL = load(__package__, "postgres.sql")
CHECK = "open boards"
TIMEOUT_S = 5.0


async def check(postgres_url: str, redis_url: str) -> list[Finding]:
    """Looks at every open period of every board. Both URLs are of the owner."""
    redis = connect(redis_url, timeout_s=TIMEOUT_S)
    try:
        connection = await asyncpg.connect(postgres_url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            return [await _look(connection, redis)]
        finally:
            connection.terminate()
    except (*AWAY, asyncpg.PostgresError, RedisError) as error:
        what = f"cannot be told: Postgres or Redis does not answer ({type(error).__name__})"
        return [failed(CHECK, what, "See postgres and redis in this list.")]
    finally:
        await redis.aclose()


async def _look(connection: asyncpg.Connection[asyncpg.Record], redis: Redis) -> Finding:
    run_id = (await redis.info("server"))["run_id"]
    source = f"{run_id}.{await connection.fetchval(_SQL['identity'])}"
    origin = await read_origin(redis)
    periods = await connection.fetch(_SQL["open_periods"])
    wrong = [
        row["name"]
        for row in periods
        if not await view.is_right(redis, BoardKey(row["board_id"], row["period_start"]), origin.id)
    ]
    return boards(len(periods), wrong, is_present=origin.source == source)


def boards(count: int, wrong: list[str], *, is_present: bool) -> Finding:
    """Judges the views. wrong: boards that are not readable; is_present: Redis' views are of the present servers."""
    log = "A worker mends this within seconds: when it stays, see DIR/logs/worker-1.log."
    if not is_present:
        return failed(CHECK, "Redis shows another database, or was replaced", log)
    if wrong:
        return failed(CHECK, f"not ready in Redis: {', '.join(wrong)}", f"Readers get them from Postgres. {log}")
    return ok(CHECK, f"{count} periods are ready in Redis")
