"""Makes the mesh's database and waits for its boards; every step may be repeated, and is, at each start."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import asyncpg
import psycopg
import redis.asyncio
from redis.exceptions import RedisError

from scoreboard.local import accounts, database, probe, services
from scoreboard.local.postgres import SUPERUSER
from scoreboard.local.services import Wiring
from scoreboard.local.state import DATABASE
from scoreboard.local.trouble import Trouble

BOARDS_TIMEOUT_S = 60.0  # a rebuild of a large board takes some seconds a million entries
GATEWAY_TIMEOUT_S = 30.0  # its checks come every half second
CATALOGUE = services.TREE / "scoreboard.toml"


async def prepare_database(wiring: Wiring) -> list[str]:
    """Make roles, database, tables, the operator's client and the first catalogue; return what was done, a line each.

    Raises Trouble when Postgres or the catalogue refuses.
    """
    try:
        await asyncio.to_thread(_migrate, wiring)
    except psycopg.Error as error:
        raise Trouble(f"The database could not be prepared: {error}", "Its log is logs/postgres.log.") from error
    return await apply_first_catalogue(wiring.postgres(accounts.OWNER)["SCOREBOARD_POSTGRES_URL"])


def _migrate(wiring: Wiring) -> None:
    from board import migrate
    from mesh.client_secret import secret_hash

    superuser = wiring.postgres(SUPERUSER)["SCOREBOARD_POSTGRES_URL"].rsplit("/", 1)[0] + "/postgres"
    database.make_roles(superuser, wiring.secrets.postgres)
    database.make_database(superuser, DATABASE)
    owner = wiring.postgres(accounts.OWNER)["SCOREBOARD_POSTGRES_URL"]
    migrate.migrate(owner)
    database.let_exporter_read(wiring.postgres(SUPERUSER)["SCOREBOARD_POSTGRES_URL"])
    database.make_operator(owner, secret_hash(wiring.secrets.operator))


async def apply_first_catalogue(url: str) -> list[str]:
    """Apply the tree's catalogue to a database that has none; return what that changed, a line each.

    url: of the database, as its owner. Raises Trouble when the file cannot be applied.
    """
    from board.catalogue import CatalogueError
    from board.catalogue_store import apply_catalogue, load_catalogue

    connection = await asyncpg.connect(url)
    try:
        if (await load_catalogue(connection)).revision > 0:
            return []  # what an operator applied since is not undone by the next start
        applied = await apply_catalogue(connection, CATALOGUE.read_text())
    except (CatalogueError, OSError) as error:
        raise Trouble(f"{CATALOGUE} cannot be applied: {error}", "Mend the file, then start again.") from error
    finally:
        await connection.close()
    return [f"Catalogue: {change}" for change in applied.changes]


async def wait_boards(wiring: Wiring) -> None:
    """Wait until Redis has each board's open period. Raises Trouble when the workers have not built them in time."""
    deadline = time.monotonic() + BOARDS_TIMEOUT_S
    owner = wiring.redis(accounts.OWNER)["SCOREBOARD_REDIS_URL"]
    async with redis.asyncio.Redis.from_url(owner, decode_responses=True) as client:
        for name, key in await _open_boards(wiring):
            while not await _is_ready(client, key):
                if time.monotonic() > deadline:
                    what = f"The board {name} is not ready in Redis after {BOARDS_TIMEOUT_S:.0f} s."
                    raise Trouble(what, "Look into logs/worker-1.log and logs/worker-2.log.")
                await asyncio.sleep(0.05)


async def wait_gateway(wiring: Wiring) -> None:
    """Wait until the gateway has found every service alive. Raises Trouble when it has not in time."""
    deadline = time.monotonic() + GATEWAY_TIMEOUT_S
    while not await probe.envoy_serves(f"http://127.0.0.1:{wiring.ports['envoy-admin']}"):
        if time.monotonic() > deadline:
            what = f"The gateway does not reach every service after {GATEWAY_TIMEOUT_S:.0f} s."
            raise Trouble(what, "Look into logs/envoy.log and the services' logs beside it.")
        await asyncio.sleep(0.05)


async def _open_boards(wiring: Wiring) -> list[tuple[str, str]]:
    from board import keys
    from board.catalogue_store import load_catalogue
    from board.entry import BoardKey

    connection = await asyncpg.connect(wiring.postgres(accounts.OWNER)["SCOREBOARD_POSTGRES_URL"])
    try:
        catalogue = await load_catalogue(connection)
    finally:
        await connection.close()
    now = datetime.now(UTC)
    return [
        (board.name, keys.meta(BoardKey(board.board_id, board.period_at(now).start)))
        for board in catalogue.boards.values()
    ]


async def _is_ready(client: redis.asyncio.Redis, key: str) -> bool:
    try:
        return bool(await client.hget(key, "state") == "ready")
    except RedisError:
        return False
