"""Puts a catalogue in place of the present one, as `scoreboard apply` does, and says so in the admin log."""

import asyncpg

from board.acts import apply_catalogue_and_log
from board.catalogue import CatalogueError
from board.catalogue_store import Applied
from mesh.identity import Identity
from mesh.refusal import Refused, invalid


async def apply_config(pool: asyncpg.Pool, operator: Identity, toml: str, reason: str, *, dry_run: bool) -> Applied:
    """Returns what the file changed, or would. Raises Refused(INVALID_ARGUMENT) for one that cannot be applied."""
    try:
        async with pool.acquire() as conn, conn.transaction():
            return await apply_catalogue_and_log(conn, toml, actor=operator.subject, reason=reason, dry_run=dry_run)
    except CatalogueError as e:
        raise _refused(e) from e


def _refused(error: CatalogueError) -> Refused:
    return invalid("toml", f"cannot be applied: {error}".rstrip("."))
