"""Looks at Postgres: whether it keeps what it confirms, whether the schema is this tree's, and what waits in it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import asyncpg

from board import migrate
from board.partitions import count_unplaced
from mesh.postgres import AWAY
from mesh.sql import load
from scoreboard.cli.checks import finding, machine
from scoreboard.cli.checks.finding import Finding, failed, ok, warning

_SQL = load(__package__, "postgres.sql")
VERSION_MIN, VERSIONS_TESTED = (15,), frozenset({15, 18})
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
WEAK_COMMITS = frozenset({"off", "local"})  # `local` forgets the standby, where there is one
MONTHS_AHEAD = 3  # a worker makes 24: fewer than this, and none has looked for long
REBUILD_LATE = timedelta(minutes=2)  # a board of a million entries takes some seconds
SEALS_LATE = timedelta(minutes=2)  # they come each 10 s; a ledger that was never sealed takes a while
TIMEOUT_S = 5.0


async def check(url: str) -> list[Finding]:
    """Looks at everything in Postgres. url: of the owner."""
    try:
        connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (*AWAY, asyncpg.PostgresError) as error:
        cure = "Its log is DIR/logs/postgres.log; `scoreboard up` starts it again when it ends."
        return [failed("Postgres", f"does not answer ({type(error).__name__})", cure)]
    try:
        return await _look(connection)
    except (*AWAY, asyncpg.PostgresError) as error:
        return [failed("Postgres", f"cannot be read: {error or type(error).__name__}", "See DIR/logs/postgres.log.")]
    finally:
        connection.terminate()


async def _look(connection: asyncpg.Connection[asyncpg.Record]) -> list[Finding]:
    facts = await connection.fetchrow(_SQL["facts"])
    assert facts is not None
    number = facts["version"]
    applied = [row["migration_id"] for row in await connection.fetch(_SQL["migrations"])]
    in_tree = sorted(path.stem for path in migrate.FOLDER.glob("*.sql"))
    found = [
        finding.version("Postgres", (number // 10_000, number % 10_000), least=VERSION_MIN, tested=VERSIONS_TESTED),
        durability({name: facts[name] for name in DURABLE}, facts["overrides"]),
        migrations(applied, in_tree),
    ]
    if found[-1].state is finding.State.FAILED:
        return found  # the tables that the others ask may not be there yet
    counts = await connection.fetchrow(_SQL["counts"])
    operation = await connection.fetchrow(_SQL["operation"])
    assert counts is not None
    missing = [row["name"] for row in await connection.fetch(_SQL["missing_partitions"], MONTHS_AHEAD)]
    return [
        *found,
        partitions(missing),
        unplaced(await count_unplaced(connection)),
        dead_letters(counts["dead_letters"]),
        rebuilds(counts["rebuilds"], counts["oldest_rebuild"]),
        pause(operation["changed_at"] if operation is not None and operation["paused"] else None),
        await _seals(connection),
        await _clock(connection),
    ]


async def _seals(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    row = await connection.fetchrow(_SQL["seals"])
    assert row is not None
    return seals(row["seals"] or 0, row["behind"], row["holder"])


async def _clock(connection: asyncpg.Connection[asyncpg.Record]) -> Finding:
    before = time.time()
    there: datetime = await connection.fetchval(_SQL["clock"])
    after = time.time()
    ahead_s = (there - datetime.fromtimestamp((before + after) / 2, UTC)).total_seconds()
    return machine.clock("Postgres", ahead_s, (after - before) / 2)


def durability(settings: dict[str, str], overrides: list[str]) -> Finding:
    """Judges whether what Postgres confirms survives a crash. overrides: `name=value` of roles and databases."""
    check = "Postgres settings"
    own = [f"{name} {value} of a role" for name, _, value in (one.partition("=") for one in overrides)]
    shown = [*(f"{name} {value}" for name, value in settings.items()), *own]
    weak = [one for one in shown if one.split()[1] in WEAK_COMMITS]
    if not weak:
        return ok(check, ", ".join(shown))
    cure = "Set it to on (ALTER SYSTEM, ALTER ROLE): else a crash loses or breaks updates that were confirmed."
    return failed(check, ", ".join(weak), cure)


def seals(count: int, behind: timedelta | None, holder: int | None) -> Finding:
    """Judges the audit chain. behind: age of the oldest row without a seal. holder: process that keeps it so."""
    check = "audit seals"
    if behind is None or behind < SEALS_LATE:
        return ok(check, f"{count} seals, nothing waits for long")
    found = f"{count} seals; rows wait for one since {behind.total_seconds():,.0f} s"
    if holder is not None:
        cure = f"Process {holder} of Postgres has a transaction open since: end it (pg_terminate_backend({holder}))."
        return failed(check, found, cure)
    return failed(check, found, "Workers seal: see `seals_` in DIR/logs/worker-1.log, and docs/audit.md.")


def migrations(applied: list[str], in_tree: list[str]) -> Finding:
    """Judges whether the database has the schema of this tree."""
    check = "migrations"
    if missing := [name for name in in_tree if name not in applied]:
        return failed(check, f"not applied: {', '.join(missing)}", "Start the mesh again: `up` applies them.")
    if unknown := [name for name in applied if name not in in_tree]:
        cure = "Use the version that made them: an older one may not know the tables."
        return warning(check, f"not of this version: {', '.join(unknown)}", cure)
    return ok(check, f"all {len(in_tree)} applied")


def partitions(missing: list[str]) -> Finding:
    """Judges whether the months to come have their partitions."""
    check = "partitions ahead"
    if not missing:
        return ok(check, f"made for {MONTHS_AHEAD} months and more")
    cure = "A worker makes them each minute: see `Upkeep waits` in DIR/logs/worker-1.log."
    return failed(check, f"missing: {', '.join(missing)}", cure)


def unplaced(rows: int) -> Finding:
    """Judges the rows in DEFAULT partitions."""
    check = "rows without a partition"
    if not rows:
        return ok(check, "none")
    cure = "A worker moves those of the coming months within a minute; older ones came with a wrong clock."
    return warning(check, f"{rows} in the DEFAULT partitions", cure)


def dead_letters(count: int) -> Finding:
    """Judges the jobs that were given up."""
    if not count:
        return ok("dead letters", "none")
    return warning("dead letters", f"{count} jobs were given up", "Look at them: scoreboard dead-letters list.")


def rebuilds(count: int, oldest: timedelta | None) -> Finding:
    """Judges the rebuilds that operators asked for. oldest: since when the first waits."""
    if oldest is None:
        return ok("rebuilds", "none asked for")
    found = f"{count} not finished, the oldest asked for {oldest.total_seconds():.0f} s ago"
    if oldest < REBUILD_LATE:
        return ok("rebuilds", found)
    return warning("rebuilds", found, "A worker does them: see DIR/logs/worker-1.log, and whether Redis answers.")


def pause(since: datetime | None) -> Finding:
    """Judges whether the workers rest. since: when they were told to."""
    if since is None:
        return ok("pause", "the workers work")
    cure = "Updates are accepted and wait; let the workers go on: scoreboard resume."
    return warning("pause", f"the workers rest since {since:%Y-%m-%d %H:%M:%S} UTC", cure)
