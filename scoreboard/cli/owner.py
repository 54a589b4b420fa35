"""Opens the stores of a running mesh with the owner's rights, for commands that read or write past the services.

SCOREBOARD_POSTGRES_URL and SCOREBOARD_REDIS_URL, where they are set, name those of another mesh than that of `--data`.
Holds always: a server that does not answer is a Trouble.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scoreboard.cli.operator import URL_VARIABLE
from scoreboard.local import state
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

POSTGRES_VARIABLE, REDIS_VARIABLE = "SCOREBOARD_POSTGRES_URL", "SCOREBOARD_REDIS_URL"
CURE = "See: scoreboard status, and DIR/logs."
REDIS_TIMEOUT_S = 30.0  # a scan of a big board on a busy machine; nobody else waits for it


@asynccontextmanager
async def open_postgres(data: Path) -> AsyncIterator[asyncpg.Pool]:
    """Yields a small pool of the owner's. Raises Trouble when no mesh runs, and when Postgres goes away meanwhile."""
    from mesh.postgres import AWAY, create_pool

    check_here()
    try:
        async with await create_pool(_postgres_url(data), name="scoreboard", size=2) as pool:
            yield pool
    except AWAY as error:
        raise Trouble(f"Postgres does not answer: {error or type(error).__name__}", CURE) from error


@asynccontextmanager
async def open_stores(data: Path) -> AsyncIterator[tuple[asyncpg.Pool, Redis]]:
    """Yields a small pool and a client of Redis, both of the owner. Raises Trouble as `open_postgres`, for either."""
    from mesh.postgres import AWAY as POSTGRES_AWAY
    from mesh.postgres import create_pool
    from mesh.redis import AWAY as REDIS_AWAY
    from mesh.redis import connect

    check_here()
    redis = connect(os.environ.get(REDIS_VARIABLE) or state.redis_url(data), timeout_s=REDIS_TIMEOUT_S)
    try:
        async with await create_pool(_postgres_url(data), name="scoreboard", size=2) as pool:
            yield pool, redis
    except (*POSTGRES_AWAY, *REDIS_AWAY) as error:
        raise Trouble(f"Postgres or Redis does not answer: {error or type(error).__name__}", CURE) from error
    finally:
        await redis.aclose()


def _postgres_url(data: Path) -> str:
    return os.environ.get(POSTGRES_VARIABLE) or state.postgres_url(data)


def check_here() -> None:
    """Raises Trouble when AdminService's variable means another deployment than the mesh of `--data`."""
    # A command that goes past the services would meet another database than the rest of the operator's work.
    if os.environ.get(URL_VARIABLE) and not os.environ.get(POSTGRES_VARIABLE):
        what = f"{URL_VARIABLE} names a deployment whose database cannot be reached from here."
        raise Trouble(what, f"Set {POSTGRES_VARIABLE} too, or unset {URL_VARIABLE} for the mesh of --data.")
