"""Postgres: pools, and the question whether an error means that it is away rather than that we asked wrongly."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from mesh import metrics, password_file

COMMAND_TIMEOUT_S = 5.0  # a frozen server must not hold a caller longer than the gateway does
CONNECT_TIMEOUT_S = 2.0
_CONNECTIONS = metrics.gauge("scoreboard_postgres_connections")
_CONNECTIONS_MAX = metrics.gauge("scoreboard_postgres_connections_max")

#: Errors that name no job and no request: the server is away, starting, stopping, out of room, or does not answer;
#: it was a primary and is a standby now; or an attempt met another one, and may be repeated.
AWAY = (
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # a database that takes no connections for now, a lock not had
    asyncpg.TransactionRollbackError,
)


async def create_pool(
    url: str,
    *,
    name: str,
    size: int,
    min_size: int = 0,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
    leaves_no_trace: bool = False,
    shown_as: str = "main",
) -> asyncpg.Pool:
    """Returns a pool of at most `size` connections; with min_size 0 it opens none yet, so a server away is no error.

    leaves_no_trace: whoever takes a connection ends his transaction and leaves nothing in the session (no advisory
    lock, no setting, no cursor), so that it need not be reset, which is one more round trip each time. shown_as: among
    the metrics.
    """
    url, file = password_file.take(url)
    pool = await asyncpg.create_pool(
        url,
        connect=asyncpg.connect if file is None else partial(_connect, file),
        min_size=min_size,
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=command_timeout_s,
        reset=_nothing if leaves_no_trace else None,
        server_settings={
            "application_name": name,
            # Else the session of a client that was killed keeps its locks for as long as it waits for another's.
            "client_connection_check_interval": "1s",
            # A statement of ours reads few rows of large tables: it would start a process for each batch, 20 ms.
            "max_parallel_workers_per_gather": "0",
        },
    )
    _CONNECTIONS.read(pool.get_idle_size, shown_as, "idle")
    _CONNECTIONS.read(lambda: pool.get_size() - pool.get_idle_size(), shown_as, "busy")
    _CONNECTIONS_MAX.read(pool.get_max_size, shown_as)
    return pool


async def _connect(file: Path, *args: Any, **options: Any) -> Any:
    """Connects by the first password of the file that the server takes."""
    *newer, last = password_file.read(file)
    for password in newer:
        with suppress(asyncpg.InvalidPasswordError):
            return await asyncpg.connect(*args, password=password, **options)
    return await asyncpg.connect(*args, password=last, **options)


async def _nothing(_: object) -> None:
    """Resets nothing; asyncpg itself rolls back a transaction that was left open."""
