"""The audit chain on a real Postgres: what is sealed and when, and that every tampering is found and named."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from board import seal_store
from board.audit import Audit, check
from board.audit_file import NotExported, check_file, export, read_seals
from board.seal import FIRST, Range, Seal, SealKey, Tree, TrustedKeys, leaf_of
from tests.auditing import KEY, TRUSTED, Ledger, ledger_of
from tests.servers import Database
from tests.sizes import Record, sized
from tests.waiting import eventually


@pytest.fixture
async def ledger(database: Database, tmp_path: Path) -> AsyncIterator[Ledger]:
    """An empty ledger of this test's own."""
    async with ledger_of(database, tmp_path) as made:
        yield made


async def sealed(ledger: Ledger, rows: int) -> list[Seal]:
    """Seals until so many rows are; another test's transaction on the same server may hold it up."""
    sealer, made = ledger.sealer(), list[Seal]()

    async def all_are() -> bool:
        made.extend(await sealer.seal_all())
        return sum(seal.row_count for seal in made) == rows

    await eventually(all_are, 30, f"{rows} sealed rows")
    return made


# What is sealed


async def test_a_ledger_without_rows_needs_no_seal(ledger: Ledger) -> None:
    assert await ledger.sealer().seal_all() == []
    found = await ledger.whole()
    assert (found.seals, found.rows, found.unsealed) == (0, 0, 0)


async def test_rows_of_both_tables_are_sealed_once_and_published(ledger: Ledger) -> None:
    await ledger.add(ledger.owner, 3, lines=2)
    await sealed(ledger, 5)
    assert await ledger.sealer().seal_all() == []
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    found = await ledger.whole()
    assert (found.rows, found.unsealed, found.archived) == (6, 0, 0)
    assert found.seals == found.published == len(read_seals(ledger.file))


async def test_what_is_not_sealed_yet_is_counted(ledger: Ledger) -> None:
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    await ledger.add(ledger.owner, 2)
    found = await ledger.whole()
    assert (found.rows, found.unsealed) == (1, 2)
    assert found.unsealed_since is not None


async def test_a_transaction_that_commits_late_is_waited_for(ledger: Ledger) -> None:
    async with ledger.open_transaction() as (late, transaction):
        await ledger.add(late, 1)
        await ledger.add(ledger.owner, 2)  # committed, with later numbers
        assert await ledger.sealer().seal_all() == []
        await transaction.commit()
    await sealed(ledger, 3)
    order = await ledger.owner.fetch("SELECT id FROM score_logs ORDER BY txid, id")
    assert [row["id"] for row in order] == ledger.ids
    await ledger.whole()


async def test_a_transaction_that_is_undone_leaves_a_gap_that_is_none(ledger: Ledger) -> None:
    await ledger.add(ledger.owner, 1)
    async with ledger.open_transaction() as (undone, transaction):
        await ledger.add(undone, 1, lines=1)
        await transaction.rollback()
    await ledger.add(ledger.owner, 1, lines=1)
    await sealed(ledger, 3)
    assert (await ledger.whole()).rows == 3


async def test_transactions_that_end_in_any_order_are_sealed_once_each(ledger: Ledger) -> None:
    sealer, expected = ledger.sealer(), 0
    stop = asyncio.Event()

    async def writes(count: int) -> int:
        kept = 0
        for _ in range(count):
            async with ledger.open_transaction() as (conn, transaction):
                rows = random.randrange(1, 4)
                await ledger.add(conn, rows, lines=random.randrange(2))
                lines = await conn.fetchval("SELECT count(*) FROM admin_log WHERE txid = pg_current_xact_id()")
                await asyncio.sleep(random.random() / 100)
                if random.random() < 0.3:
                    await transaction.rollback()
                else:
                    await transaction.commit()
                    kept += rows + lines
        return kept

    async def seals() -> int:
        count = 0
        while not stop.is_set():
            count += sum(seal.row_count for seal in await sealer.seal_all())
        return count

    sealing = asyncio.create_task(seals())
    expected = sum(await asyncio.gather(*(writes(sized(15, 60)) for _ in range(4))))
    stop.set()
    count = await sealing
    if count < expected:
        await sealed(ledger, expected - count)
    assert (await ledger.whole()).rows == expected


async def test_a_large_ledger_is_sealed_in_parts_between_transactions(ledger: Ledger) -> None:
    for rows in (4, 7, 1, 1, 1):
        async with ledger.open_transaction() as (conn, transaction):
            await ledger.add(conn, rows)
            await transaction.commit()
    seals: list[Seal] = []

    async def all_are() -> bool:
        seals.extend(await ledger.sealer(rows_max=3).seal_all())
        return sum(seal.row_count for seal in seals) == 14

    await eventually(all_are, 30, "14 sealed rows")
    assert [seal.row_count for seal in seals][:2] == [4, 7]
    await ledger.whole()


async def test_pages_of_rows_are_read_in_one_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ledger.open_transaction() as (conn, transaction):
        await ledger.add(conn, 5, lines=3)
        await transaction.commit()
    await ledger.add(ledger.owner, 2, lines=2)
    whole = [line async for line in seal_store.lines(ledger.owner, 0, 2**62)]
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(seal_store, "PAGE_ROWS", size)
        assert [line async for line in seal_store.lines(ledger.owner, 0, 2**62)] == whole
    assert len(whole) == 12


# Sealers


async def test_many_sealers_at_once_make_one_chain(ledger: Ledger) -> None:
    sealers = [ledger.sealer() for _ in range(4)]
    for _ in range(sized(10, 50)):
        await ledger.add(ledger.owner, 2)
        await asyncio.gather(*(sealer.seal_all() for sealer in sealers))
    await sealed_all(ledger)
    await ledger.whole()


async def sealed_all(ledger: Ledger) -> None:
    """Seals until nothing is left."""

    async def are_all() -> bool:
        await ledger.sealer().seal_all()
        return (await ledger.check()).unsealed == 0

    await eventually(are_all, 30, "no row without a seal")


async def test_without_the_lock_two_sealers_still_make_one_chain(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def everyone(*_: object) -> bool:
        return True

    monkeypatch.setattr(seal_store, "try_lock", everyone)
    await ledger.add(ledger.owner, 5)

    async def one_more() -> None:
        try:
            await ledger.sealer().seal_all()
        except asyncpg.UniqueViolationError:
            return

    await asyncio.gather(*(one_more() for _ in range(4)))
    await sealed_all(ledger)
    assert (await ledger.whole()).rows == 5


async def test_a_sealer_that_is_stopped_in_the_middle_keeps_nobody_from_sealing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.add(ledger.owner, 3)
    is_stopped, go_on = asyncio.Event(), asyncio.Event()
    original = seal_store.add_seal

    async def stops(*arguments: Any) -> None:
        is_stopped.set()
        await go_on.wait()
        await original(*arguments)

    monkeypatch.setattr(seal_store, "add_seal", stops)
    stopped = asyncio.create_task(ledger.sealer(idle_s=1).seal_all())
    await is_stopped.wait()
    monkeypatch.setattr(seal_store, "add_seal", original)
    await sealed(ledger, 3)  # once Postgres has ended the stopped one's transaction
    go_on.set()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await stopped
    assert (await ledger.whole()).seals == 1


async def test_what_a_sealer_that_died_did_not_publish_the_next_one_does(ledger: Ledger) -> None:
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    kept = ledger.file.read_bytes()
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    ledger.file.write_bytes(kept + b'{"seal_no": 2, "seal"')  # it died in the middle of the line
    await ledger.sealer().publish_missing()
    assert [seal.seal_no for seal in read_seals(ledger.file)] == [1, 2]
    ledger.file.unlink()
    await ledger.sealer().publish_missing()
    assert [seal.seal_no for seal in read_seals(ledger.file)] == [1, 2]
    await ledger.whole()


async def test_a_file_that_cannot_be_written_stops_no_sealing(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.file = tmp_path / "missing" / "seals.jsonl"
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    assert "seals_unpublished" in {getattr(record, "event", "") for record in caplog.records}


async def test_a_worker_cannot_change_what_is_sealed(ledger: Ledger) -> None:
    for statement in (
        "UPDATE audit_seals SET row_count = 0",
        "DELETE FROM audit_seals",
        "UPDATE audit_leaves SET leaves = ''",
        "DELETE FROM audit_leaves",
        "DELETE FROM admin_log",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ledger.worker.execute(statement)


# Tampering

Wrong = list[tuple[int, str, str]]
Tamper = Callable[[Ledger], Awaitable[Wrong]]


async def change(ledger: Ledger) -> Wrong:
    await ledger.owner.execute("UPDATE score_logs SET score_change = 5000 WHERE id = $1", ledger.ids[4])
    return [(2, str(ledger.ids[4]), "the row was changed")]


async def change_time(ledger: Ledger) -> Wrong:
    await ledger.owner.execute(
        "UPDATE score_logs SET accepted_at = accepted_at - interval '1 us' WHERE id = $1", ledger.ids[0]
    )
    return [(1, str(ledger.ids[0]), "the row was changed")]


async def remove(ledger: Ledger) -> Wrong:
    await ledger.owner.execute("DELETE FROM score_logs WHERE id = $1", ledger.ids[3])
    return [(2, str(ledger.ids[3]), "the row was removed")]


async def remove_all(ledger: Ledger) -> Wrong:
    await ledger.owner.execute("TRUNCATE score_logs")
    return [(no, str(ledger.ids[i]), "the row was removed") for i, no in enumerate((1, 1, 1, 2, 2, 2, 3))]


async def add(ledger: Ledger) -> Wrong:
    (row_id,) = await ledger.add(ledger.owner, 1)
    await ledger.owner.execute(
        "UPDATE score_logs SET txid = (SELECT txid FROM score_logs WHERE id = $1) WHERE id = $2", ledger.ids[1], row_id
    )
    return [(1, str(row_id), "the row was added")]


async def replace_row(ledger: Ledger) -> Wrong:
    return [*(await remove(ledger)), *(await add(ledger))]


async def move(ledger: Ledger) -> Wrong:
    there = await ledger.owner.fetchval(
        "UPDATE score_logs SET txid = (SELECT txid FROM score_logs WHERE id = $1) WHERE id = $2"
        " RETURNING txid::text::bigint",
        ledger.ids[6],
        ledger.ids[2],
    )
    return [(1, str(ledger.ids[2]), f"the row was moved to transaction {there}")]


async def reorder(ledger: Ledger) -> Wrong:
    """Swaps the places of two rows under one seal."""
    first, last = ledger.ids[3], ledger.ids[5]
    await ledger.owner.execute(
        """UPDATE score_logs l SET txid = o.txid FROM score_logs o
           WHERE (l.id = $1 AND o.id = $2) OR (l.id = $2 AND o.id = $1)""",
        first,
        last,
    )
    return [(2, str(row_id), "the row was changed") for row_id in (first, last)]


async def from_the_future(ledger: Ledger) -> Wrong:
    (row_id,) = await ledger.add(ledger.owner, 1)
    await ledger.owner.execute("UPDATE score_logs SET txid = '9000000000000000000' WHERE id = $1", row_id)
    return [(0, "", "1 rows name transactions that there were not yet")]


async def change_admin_log(ledger: Ledger) -> Wrong:
    await ledger.owner.execute("UPDATE admin_log SET actor = 'nobody' WHERE id = 1")
    return [(1, "admin log 1", "the row was changed")]


async def remove_admin_line(ledger: Ledger) -> Wrong:
    await ledger.owner.execute("DELETE FROM admin_log WHERE id = 2")
    return [(2, "admin log 2", "the row was removed")]


async def change_with_its_leaf(ledger: Ledger) -> Wrong:
    """Hides which row was changed; the seal knows that one was."""
    await change(ledger)
    await _write_leaves(ledger, 2)
    return [(2, "", "rows differ; which ones cannot be told: their list was changed too")]


async def change_with_its_root(ledger: Ledger) -> Wrong:
    """Makes seal and leaves fit the rows: without the key that is no seal."""
    await change(ledger)
    tree = await _write_leaves(ledger, 2)
    await ledger.owner.execute("UPDATE audit_seals SET root = $1 WHERE seal_no = 2", tree.root())
    return [(2, "", "the seal was changed, or the one before it")]


async def change_and_seal_anew(ledger: Ledger) -> Wrong:
    """Goes all the way with another key: the key is not trusted, and other seals were published."""
    await change(ledger)
    published = {seal.seal_no: seal for seal in read_seals(ledger.file)}
    other = SealKey.new()
    tree, before, wrong = await _write_leaves(ledger, 2), published[1].seal, Wrong()
    for seal in await seal_store.seals_after(ledger.owner, 1, 9):
        fields = {name: getattr(seal, name) for name in ("seal_no", "cluster", "from_txid", "to_txid", "row_count")}
        root = tree.root() if seal.seal_no == 2 else seal.root
        made = other.sign(Range(**fields, root=root, sealed_at=seal.sealed_at), before)
        before = made.seal
        await ledger.owner.execute(
            "UPDATE audit_seals SET root = $2, seal = $3, signature = $4, kid = $5 WHERE seal_no = $1",
            made.seal_no,
            made.root,
            made.seal,
            made.signature,
            made.kid,
        )
        wrong.append((made.seal_no, "", f"no trusted key signed it (key {other.kid})"))
    return wrong + [(no, "", f"another seal was published of {published[no].sealed_at}") for no in (2, 3)]


async def cut_off(ledger: Ledger) -> Wrong:
    """Removes the newest seal with its rows: only what was published tells."""
    newest = read_seals(ledger.file)[-1]
    await ledger.owner.execute("DELETE FROM audit_leaves WHERE seal_no = 3")
    await ledger.owner.execute("DELETE FROM audit_seals WHERE seal_no = 3")
    await ledger.owner.execute("DELETE FROM score_logs WHERE id = $1", ledger.ids[6])
    return [(3, "", f"the seal that was published of {newest.sealed_at} is missing")]


async def cut_off_the_beginning(ledger: Ledger) -> Wrong:
    first = read_seals(ledger.file)[0]
    await ledger.owner.execute("DELETE FROM audit_leaves WHERE seal_no = 1")
    await ledger.owner.execute("DELETE FROM audit_seals WHERE seal_no = 1")
    return [
        (2, "", "seal 1 is missing before it"),
        (1, "", f"the seal that was published of {first.sealed_at} is missing"),
    ]


async def _write_leaves(ledger: Ledger, seal_no: int) -> Tree:
    (seal,) = await seal_store.seals_after(ledger.owner, seal_no - 1, 1)
    leaves = [leaf_of(line) async for line in seal_store.lines(ledger.owner, seal.from_txid, seal.to_txid)]
    packed = b"".join(leaf.packed for leaf in leaves)
    await ledger.owner.execute("UPDATE audit_leaves SET leaves = $1 WHERE seal_no = $2", packed, seal_no)
    return Tree(leaf.hash for leaf in leaves)


TAMPERINGS: tuple[Tamper, ...] = (
    change,
    change_time,
    remove,
    remove_all,
    add,
    replace_row,
    move,
    reorder,
    from_the_future,
    change_admin_log,
    remove_admin_line,
    change_with_its_leaf,
    change_with_its_root,
    change_and_seal_anew,
    cut_off,
    cut_off_the_beginning,
)


@pytest.mark.promise(row=38)
@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
async def test_every_tampering_is_found_and_named(ledger: Ledger, tamper: Tamper, record_property: Record) -> None:
    for rows, lines in ((3, 1), (3, 1), (1, 0)):
        await ledger.add(ledger.owner, rows, lines=lines)
        await sealed_in_one(ledger, rows + lines)
    await ledger.whole()
    expected = await tamper(ledger)
    assert sorted(await ledger.wrong()) == sorted(expected)
    record_property("faults", 1)


async def sealed_in_one(ledger: Ledger, rows: int) -> None:
    """Waits until these rows can be sealed by one seal, and seals them."""
    sealer = ledger.sealer()

    async def are_finished() -> bool:
        now = await seal_store.finished(ledger.owner)
        both = "SELECT txid FROM score_logs UNION ALL SELECT txid FROM admin_log"
        newest = await ledger.owner.fetchval(f"SELECT txid::text::bigint FROM ({both}) b ORDER BY txid DESC LIMIT 1")
        return bool(newest < now.below)

    await eventually(are_finished, 30, "finished rows")
    assert [seal.row_count for seal in await sealer.seal_all()] == [rows]


@pytest.mark.promise(row=38)
async def test_random_tampering_with_a_sealed_row_is_named(ledger: Ledger, record_property: Record) -> None:
    await ledger.add(ledger.owner, 12)
    await sealed(ledger, 12)
    columns = {
        "user_ref": 99,
        "action_id": "coin",
        "kind": 3,
        "reason": "CAP_REACHED",
        "score_change": 7,
        "value": 1,
        "score_after": None,
        "reporter": "x",
        "reverses": ledger.ids[0],
        "revision": 9,
        "accepted_at": ledger.at - timedelta(days=1),
        "applied_at": ledger.at - timedelta(days=1),
    }
    for column, value in columns.items():
        row_id = random.choice(ledger.ids)
        async with ledger.owner.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            await conn.execute(f"UPDATE score_logs SET {column} = $1 WHERE id = $2", value, row_id)
            found = await check(conn, TRUSTED)  # type: ignore[arg-type]
            await transaction.rollback()
        assert [(one.row, one.what) for one in found.differences] == [(str(row_id), "the row was changed")], column
        record_property("faults", 1)
    await ledger.whole()


# What is no tampering


async def test_archived_months_are_told_from_removed_rows(ledger: Ledger) -> None:
    this_month, two_ago = ledger.at, ledger.at - timedelta(days=62)
    await ledger.owner.execute("SELECT ensure_partitions(now())")
    first = two_ago.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = (first + timedelta(days=32)).replace(day=1)
    await ledger.owner.execute(
        f"""CREATE TABLE old PARTITION OF score_logs
            FOR VALUES FROM ('{await _first_id(ledger, first)}') TO ('{await _first_id(ledger, after)}')"""
    )
    ledger.at = first + timedelta(days=1)
    async with ledger.open_transaction() as (conn, transaction):
        await ledger.add(conn, 2)
        ledger.at = this_month
        await ledger.add(conn, 2)
        await transaction.commit()
    await sealed(ledger, 4)
    await ledger.owner.execute("ALTER TABLE score_logs DETACH PARTITION old")
    found = await ledger.whole()
    assert (found.rows, found.archived) == (4, 2)
    await ledger.owner.execute("DELETE FROM score_logs WHERE id = $1", ledger.ids[3])
    assert await ledger.wrong() == [(1, str(ledger.ids[3]), "the row was removed")]


async def _first_id(ledger: Ledger, at: Any) -> Any:
    return await ledger.owner.fetchval("SELECT first_ledger_id($1)", at)


async def test_a_row_that_moves_to_its_partition_stays_sealed(ledger: Ledger) -> None:
    ahead = await ledger.owner.fetchval("SELECT date_trunc('month', now()) + interval '30 months'")
    ledger.at = ahead + timedelta(days=1)
    await ledger.add(ledger.owner, 2)
    await sealed(ledger, 2)
    assert await ledger.owner.fetchval("SELECT count(*) FROM score_logs_other") == 2
    await ledger.owner.execute("SELECT ensure_partitions($1)", ahead + timedelta(days=40))
    assert await ledger.owner.fetchval("SELECT count(*) FROM score_logs_other") == 0
    await ledger.whole()


async def test_another_key_goes_on_with_the_chain(ledger: Ledger) -> None:
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    new = SealKey.new()
    await ledger.add(ledger.owner, 1)
    await eventually(ledger.sealer(new).seal_all, 30, "a seal of the new key")
    found = await ledger.check()
    assert [one.what for one in found.differences] == [f"no trusted key signed it (key {new.kid})"]
    assert (await check(ledger.owner, TrustedKeys([KEY.public, new.public]))).differences == []


async def test_numbers_that_fell_stop_the_sealer_and_say_so(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    await ledger.add(ledger.owner, 1)
    (seal,) = await sealed(ledger, 1)
    # As in a cluster that a dump was loaded into: its own numbers are lower than those of the rows.
    await ledger.owner.execute("UPDATE audit_seals SET to_txid = '9000000000000000000', cluster = $1", seal.cluster + 1)
    await ledger.add(ledger.owner, 1)
    assert await ledger.sealer().seal_all() == []
    assert "seals_stopped" in {getattr(record, "event", "") for record in caplog.records}


async def test_a_database_that_went_back_is_noticed(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    await ledger.add(ledger.owner, 1)
    await sealed(ledger, 1)
    await ledger.owner.execute("DELETE FROM audit_leaves")
    await ledger.owner.execute("DELETE FROM audit_seals")
    sealer = ledger.sealer()
    await sealer.publish_missing()
    await sealer.publish_missing()
    assert [getattr(record, "event", "") for record in caplog.records].count("seals_forked") == 1


# Exports


async def exported(ledger: Ledger, name: str = "ledger.jsonl", **options: Any) -> Path:
    path = ledger.file.with_name(name)
    await export(ledger.owner, path, tell=lambda _: None, **options)
    return path


def found_in(path: Path, known: list[Seal] | None = None) -> Audit:
    return check_file(path, TRUSTED, known or [])


async def test_an_export_is_checked_without_the_database(ledger: Ledger) -> None:
    for _ in range(3):
        await ledger.add(ledger.owner, 2, lines=1)
        await sealed_in_one(ledger, 3)
    whole = await exported(ledger, "ledger.jsonl.gz")
    known = read_seals(ledger.file)
    assert (found_in(whole, known).rows, found_in(whole, known).differences) == (9, [])
    part = await exported(ledger, since=2, until=2)
    assert (found_in(part, known).seals, found_in(part, known).differences) == (1, [])
    lines = part.read_bytes().splitlines(keepends=True)
    for changed in (
        [lines[0], *lines[2:]],
        [lines[0], lines[2], lines[1], *lines[3:]],
        [*lines, lines[1]],
        [lines[0], lines[1].replace(b"win-round", b"win-rounds"), *lines[2:]],
    ):
        part.write_bytes(b"".join(changed))
        assert [one.seal_no for one in found_in(part).differences] == [2]
    part.write_bytes(b"".join(lines).replace(b'"row_count":3', b'"row_count":4'))
    assert "the seal was changed, or the one before it" in [one.what for one in found_in(part).differences]
    for text in (b"no export\n", b'"""\n', b""):
        part.write_bytes(text)
        with pytest.raises(NotExported):
            found_in(part)
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(NotExported):
        found_in(whole)


async def test_an_export_stands_for_rows_that_are_archived(ledger: Ledger) -> None:
    await ledger.add(ledger.owner, 3)
    await sealed(ledger, 3)
    await ledger.owner.execute("DELETE FROM score_logs WHERE id = $1", ledger.ids[1])
    path = await exported(ledger)
    assert (found_in(path).archived, found_in(path).differences) == (1, [])
    assert FIRST.hex() in path.read_text().splitlines()[0]
