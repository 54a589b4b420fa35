"""Seals and rows as files: what the mesh published, and what `audit export` writes for others to check.

An export is lines of JSON: a seal (an object, as it was published), then its rows (arrays, byte for byte what was
hashed). Holds always: to check one needs it, the public key and this format; no database.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import asyncpg
import orjson

from board import seal_store
from board.audit import SEALS_PAGE, Audit, Chain, compare_published
from board.seal import FIRST, Seal, Tree, TrustedKeys, leaf_hash, leaf_of, published, read_published

BEFORE = "before"  # the seal that an exported one stands on


class NotExported(ValueError):  # noqa: N818 -- named for what is so
    """The file is no export."""


def read_seals(path: Path) -> list[Seal]:
    """Returns the seals in a file of JSON lines: as a worker publishes them, or logs. Raises OSError.

    Other lines, and what a crash cut off, count for nothing.
    """
    return list(_seals(path.read_bytes().splitlines()))


def _seals(lines: list[bytes]) -> Iterator[Seal]:
    for line in lines:
        try:
            yield read_published(orjson.loads(line))
        except (ValueError, KeyError, TypeError):
            continue


async def export(
    pool: asyncpg.Pool, path: Path, *, since: int = 1, until: int | None = None, tell: Callable[[int], None]
) -> tuple[int, int]:
    """Writes the seals from `since` to `until` with their rows; returns how many of both. tell: after each seal.

    A name that ends in `.gz` is compressed. Raises OSError, asyncpg errors.
    """
    seals = rows = 0
    before = await seal_store.seals_after(pool, since - 2, 1) if since > 1 else []
    stands_on = before[0].seal if before else FIRST
    with _open(path, "wb") as file:
        at = since - 1
        while page := await seal_store.seals_after(pool, at, SEALS_PAGE):
            for seal in page:
                if until is not None and seal.seal_no > until:
                    return seals, rows
                file.write(orjson.dumps({**published(seal), BEFORE: stands_on.hex()}) + b"\n")
                lines = await _lines(pool, seal)
                file.writelines(line + b"\n" for line in lines)
                seals, rows, at, stands_on = seals + 1, rows + len(lines), seal.seal_no, seal.seal
                tell(seals)
    return seals, rows


async def _lines(pool: asyncpg.Pool, seal: Seal) -> list[bytes]:
    """Returns the lines of a seal's rows; of a row that is not there any more, what it hashed to."""
    lines = [line async for line in seal_store.lines(pool, seal.from_txid, seal.to_txid)]
    if len(lines) >= seal.row_count:
        return lines
    found = {leaf_of(line).key: line for line in lines}
    return [found.get(leaf.key, orjson.dumps(leaf.hash.hex())) for leaf in await seal_store.leaves(pool, seal.seal_no)]


def check_file(path: Path, keys: TrustedKeys, known: list[Seal]) -> Audit:
    """Checks an export as board.audit does a database. known: published seals to compare with.

    Raises OSError, NotExported.
    """
    audit, hashes = Audit(), dict[int, bytes]()
    chain, seal, tree = Chain(keys, audit), None, Tree()
    for line in _lines_of(path):
        if line.startswith(b"["):
            tree.add(leaf_hash(line))
        elif line.startswith(b'"'):
            tree.add(_hash(line, path))
            audit.archived += 1
        else:
            _close(audit, seal, tree)
            seal, stands_on = _read(line, path)
            tree = Tree()
            chain.follow(seal, stands_on)
            hashes[seal.seal_no] = seal.seal
    if seal is None:
        raise _not_exported(path)
    _close(audit, seal, tree)
    compare_published(audit, hashes, [one for one in known if min(hashes) <= one.seal_no <= max(hashes)])
    return audit


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        with _open(path, "rb") as file:
            for line in file:
                yield line.rstrip(b"\n")
    except (EOFError, gzip.BadGzipFile) as e:  # cut off, or not compressed
        raise _not_exported(path) from e


def _close(audit: Audit, seal: Seal | None, tree: Tree) -> None:
    if seal is None:
        return
    audit.rows += tree.count
    if (tree.count, tree.root()) != (seal.row_count, seal.root):
        audit.add(seal.seal_no, f"its rows differ from what was sealed: {tree.count} are there of {seal.row_count}")


def _hash(line: bytes, path: Path) -> bytes:
    try:
        return bytes.fromhex(orjson.loads(line))
    except (ValueError, TypeError) as e:
        raise _not_exported(path) from e


def _read(line: bytes, path: Path) -> tuple[Seal, bytes]:
    try:
        value = orjson.loads(line)
        return read_published(value), bytes.fromhex(value[BEFORE])
    except (ValueError, KeyError, TypeError) as e:
        raise _not_exported(path) from e


def _not_exported(path: Path) -> NotExported:
    return NotExported(f"{path} is no file that `audit export` wrote")


def _open(path: Path, mode: str) -> IO[Any]:
    return gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode)  # type: ignore[return-value]
