"""The audit chain in Postgres: what the sealer and `audit verify` read and write, as typed functions.

Holds always: pages of rows are all that is in memory, and no statement locks what a worker writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from board.seal import Leaf, Seal, admin_line, ledger_line, unpack
from mesh.sql import Connection, Executor, load

_SQL = load("board", "seal_store.sql")

PAGE_ROWS = 500  # 4 ms of one core: the worker's own loop does not notice
_ID_MAX = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Finished:
    """Every transaction below this number has ended. cluster: the database's identifier. now: its clock."""

    below: int
    cluster: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Ledger rows after the last seal. since: when the oldest was applied.

    from_the_future: how many no transaction can have written.
    """

    rows: int
    since: datetime | None
    from_the_future: int


async def finished(db: Executor) -> Finished:
    """Returns how far rows are complete."""
    row = await db.fetchrow(_SQL["finished"])
    assert row is not None
    return Finished(row["below"], row["cluster"], row["now"])


async def try_lock(conn: Connection, lock: int, idle_s: float) -> bool:
    """Takes the sealers' lock until the transaction ends; false: another has it. It ends after `idle_s` of silence."""
    row = await conn.fetchrow(_SQL["try_lock"], lock, str(int(idle_s * 1000)))
    assert row is not None
    return bool(row["is_mine"])


async def last_seal(db: Executor) -> Seal | None:
    """Returns the newest seal."""
    row = await db.fetchrow(_SQL["last_seal"])
    return None if row is None else _seal(row)


async def seals_after(db: Executor, seal_no: int, limit: int) -> list[Seal]:
    """Returns the next seals after that number."""
    return [_seal(row) for row in await db.fetch(_SQL["seals_after"], seal_no, limit)]


async def end_of(db: Executor, from_txid: int, below: int, rows_max: int) -> int:
    """Returns where a seal over about so many ledger rows ends, between two transactions."""
    row = await db.fetchrow(_SQL["cut"], str(from_txid), str(below), rows_max)
    assert row is not None
    if row["cut"] is None:
        return below
    # One transaction is never parted, however many rows it wrote.
    return int(max(row["cut"], row["first"] + 1))


async def lines(db: Executor, from_txid: int, to_txid: int) -> AsyncIterator[bytes]:
    """Yields the lines of a range's rows in the order of the seal."""
    at, row_id = from_txid, 0
    while rows := await db.fetch(_SQL["ledger_page"], str(at), UUID(int=row_id), str(to_txid), PAGE_ROWS):
        for row in rows:
            yield ledger_line(row)
        if len(rows) < PAGE_ROWS:
            break
        at, row_id = rows[-1]["txid"], rows[-1]["id"].int + 1
        if row_id > _ID_MAX:
            at, row_id = at + 1, 0
    at, number = from_txid, -(1 << 63)
    while rows := await db.fetch(_SQL["admin_page"], str(at), number, str(to_txid), PAGE_ROWS):
        for row in rows:
            yield admin_line(row)
        if len(rows) < PAGE_ROWS:
            break
        at, number = rows[-1]["txid"], rows[-1]["id"] + 1


async def add_seal(conn: Connection, seal: Seal, packed: bytes) -> None:
    """Adds a seal and the leaves below it. Raises asyncpg.UniqueViolationError: another sealer was faster."""
    await conn.execute(
        _SQL["add_seal"],
        seal.seal_no,
        seal.cluster,
        str(seal.from_txid),
        str(seal.to_txid),
        seal.row_count,
        seal.root,
        seal.seal,
        seal.signature,
        seal.kid,
        seal.sealed_at,
    )
    await conn.execute(_SQL["add_leaves"], seal.seal_no, packed)


async def leaves(db: Executor, seal_no: int) -> list[Leaf]:
    """Returns what the rows of a seal hashed to; none when that was removed."""
    packed: bytes | None = await db.fetchval(_SQL["leaves"], seal_no)
    return unpack(packed or b"")


async def unsealed(db: Executor, from_txid: int) -> Unsealed:
    """Returns what no seal covers yet."""
    row = await db.fetchrow(_SQL["unsealed"], str(from_txid))
    assert row is not None
    return Unsealed(row["rows"], row["since"], row["from_the_future"])


async def where_now(db: Executor, ids: list[UUID]) -> dict[UUID, int]:
    """Returns the transaction numbers of these rows, of those that are there."""
    return {row["id"]: row["txid"] for row in await db.fetch(_SQL["where_now"], ids)}


def _seal(row: Record) -> Seal:
    return Seal(**dict(row))
