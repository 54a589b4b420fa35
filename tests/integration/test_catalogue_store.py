"""board/catalogue_store.py: a file becomes the catalogue, and a revision."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from board.catalogue import CatalogueError, parse
from board.catalogue_store import apply_catalogue, load_catalogue
from tests.boards import TOML
from tests.servers import Database

MORE = TOML + '\n[actions.jump]\npoints = 2\ncooldown_s = 30\n\n[boards.monthly]\nperiod = "month"\nkeep_s = 86400\n'


@pytest.fixture
async def conn(database: Database) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database.url())
    yield connection
    await connection.close()


async def test_a_file_is_read_back_as_it_was_written(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    assert (await load_catalogue(conn)).revision == 0
    applied = await apply_catalogue(conn, MORE)
    assert (applied.revision, len(applied.changes)) == (1, 9)
    found, file = await load_catalogue(conn), parse(MORE)
    assert found.revision == 1
    assert found.actions == file.actions
    for name, rule in file.boards.items():
        for part in ("name", "operator", "period", "zone", "actions", "grace", "keep"):
            assert getattr(found.boards[name], part) == getattr(rule, part)
        assert found.boards[name].revision == 1


async def test_an_equal_file_takes_no_revision(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    await apply_catalogue(conn, TOML)
    again = await apply_catalogue(conn, TOML + "\n# a remark\n")
    assert (again.changes, again.revision) == ((), 1)


async def test_a_dry_run_says_what_would_change_and_changes_nothing(
    conn: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    await apply_catalogue(conn, TOML)
    before = await load_catalogue(conn)
    dry = await apply_catalogue(conn, MORE, dry_run=True)
    assert dry.revision == 1
    assert [change.split(":")[0] for change in dry.changes] == ["+ action jump", "+ board monthly"]
    assert await load_catalogue(conn) == before


async def test_a_new_board_counts_from_its_revision_on(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    await apply_catalogue(conn, TOML)
    assert (await apply_catalogue(conn, MORE)).revision == 2
    catalogue = await load_catalogue(conn)
    assert {name: board.revision for name, board in catalogue.boards.items()} == {
        "all": 1,
        "daily": 1,
        "weekly": 1,
        "monthly": 2,
    }
    kept = await conn.fetch("SELECT revision, toml FROM catalogue_revisions ORDER BY revision")
    assert [(row["revision"], row["toml"]) for row in kept] == [(1, TOML), (2, MORE)]


async def test_an_action_that_left_the_file_is_switched_off(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    await apply_catalogue(conn, MORE)
    await apply_catalogue(conn, TOML)
    actions = (await load_catalogue(conn)).actions
    assert not actions["jump"].enabled
    assert (await apply_catalogue(conn, MORE)).changes == ("~ action jump: enabled False → True",)


async def test_a_refused_file_changes_nothing(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    await apply_catalogue(conn, TOML)
    before = await load_catalogue(conn)
    with pytest.raises(CatalogueError):
        await apply_catalogue(conn, MORE.replace('period = "day"', 'period = "week"'))
    assert await load_catalogue(conn) == before


async def test_files_that_are_applied_at_once_make_one_revision(database: Database) -> None:
    async def apply() -> int:
        connection = await asyncpg.connect(database.url())
        try:
            return (await apply_catalogue(connection, TOML)).revision
        finally:
            await connection.close()

    assert await asyncio.gather(*(apply() for _ in range(4))) == [1, 1, 1, 1]
