"""scoreboard/local/first_start.py: what a start of the mesh does to a database that was there before."""

from __future__ import annotations

import asyncpg

from board.catalogue_store import apply_catalogue, load_catalogue
from scoreboard.local.first_start import apply_first_catalogue
from tests.servers import Database
from tests.workers import CATALOGUE


async def test_a_start_fills_an_empty_database_and_leaves_an_operators_catalogue(database: Database) -> None:
    assert await apply_first_catalogue(database.url())
    connection = await asyncpg.connect(database.url())
    try:
        await apply_catalogue(connection, CATALOGUE)
        applied = await load_catalogue(connection)
        assert await apply_first_catalogue(database.url()) == []
        assert await load_catalogue(connection) == applied
    finally:
        await connection.close()
