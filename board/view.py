"""Writes the view of the boards in Redis: after each commit, and wholly when a board was lost or is suspect.

Holds always: the newest version of an entry wins, whatever the order in which writes arrive; a player's name is there
before the place that shows it; and a board is readable only while it is whole. So writing again is always harmless,
and a rebuild needs no lock against writers: they write to both boards until the new one takes over.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TypeVar

import asyncpg
import orjson
from asyncpg import Record
from asyncpg.cursor import Cursor
from redis.asyncio import Redis

from board import keys
from board.entry import BoardKey, Entry, UserName
from board.ledger import entry_of
from board.order import encode_reached, encode_user
from mesh.redis import text
from mesh.scripts import Call, load_script, run, run_all
from mesh.sql import Connection, load
from mesh.tasks import end

_SQL = load("board", "view.sql")
_APPLY = load_script("board", "lua/apply.lua")
_NAMES = load_script("board", "lua/names.lua")
_BEGIN = load_script("board", "lua/begin.lua")
_FINISH = load_script("board", "lua/finish.lua")
_Item = TypeVar("_Item")
CHUNK_ENTRIES = 500  # a script holds everyone up: 500 writes are about 8 ms in a board of a million
FETCH_ROWS = 2_000  # so few turns that it matters little how long each has to wait on a busy machine
WRITES_AT_ONCE = 2  # Redis takes one chunk while the next is read and packed
FETCH_TIMEOUT_S = 60.0  # a join of millions of players begins late


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A board that was built anew and is readable. entries: hidden ones too."""

    entries: int
    epoch: int


async def write_entries(
    redis: Redis,
    entries: Iterable[Entry],
    names: Iterable[UserName],
    traces: Sequence[str] = (),
    *,
    for_rebuild: bool = False,
) -> frozenset[BoardKey]:
    """Writes committed entries and their players' names, in one round trip. traces: contexts that the hints bear.

    for_rebuild: only to the boards that are being rebuilt; those that are served have them already, or newer ones.
    Returns the boards that Redis does not have: these must be rebuilt (the others are written). Raises
    redis.exceptions.RedisError when Redis is away.
    """
    newest_names = {name.user_ref: name for name in sorted(names, key=lambda name: name.version)}
    calls = [
        Call(_NAMES, (keys.USERS, keys.REFS), (_names_json(chunk),)) for chunk in _chunks([*newest_names.values()])
    ]
    boards: list[BoardKey] = []
    by_board = sorted(entries, key=lambda entry: (entry.board, entry.version))
    for board, group in groupby(by_board, key=lambda entry: entry.board):
        newest = {entry.user_ref: entry for entry in group}
        for chunk in _chunks([*newest.values()]):
            args = (keys.FEED, board.tag, _entries_json(chunk), int(for_rebuild), *traces)
            calls.append(Call(_APPLY, _apply_keys(board), args))
            boards.append(board)
    if not calls:
        return frozenset()
    answers = await run_all(redis, calls)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    of_boards = answers[len(calls) - len(boards) :]
    return frozenset(
        board for board, (said, _) in zip(boards, of_boards, strict=True) if said in (b"REBUILD", "REBUILD")
    )


async def rebuild(
    pool: asyncpg.Pool,
    redis: Redis,
    board: BoardKey,
    *,
    suspect: bool = False,
    origin: str = "",
    on_written: Callable[[int], None] = lambda written: None,
) -> Rebuilt | None:
    """Builds a board from one snapshot of Postgres and swaps it in; an empty one too.

    suspect: what Redis has is not served meanwhile. origin: that of board/origin.py. on_written: told after each chunk
    how many entries were written so far. None: another rebuild began later, and its board is as good; or Redis was
    emptied or distrusted meanwhile, and somebody builds it again. Raises redis.exceptions.RedisError, asyncpg errors.
    """
    places, versions, meta = keys.places(board), keys.versions(board), keys.meta(board)
    filling = (keys.new(places), keys.new(versions))
    build_id = uuid.uuid4().hex
    # Before the snapshot: whoever commits after it finds the rebuild under way and writes to it as well.
    shown = await run(redis, _BEGIN, (meta, *filling, keys.BOARDS), (build_id, int(suspect), board.tag))
    async with pool.acquire() as conn:
        epoch: int = await conn.fetchval(_SQL["next_epoch"], shown)
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            loaded = await _write_rows(
                redis, await conn.cursor(_SQL["all_entries"], *board), on_written, for_rebuild=True
            )
    leaving = (keys.old(places), keys.old(versions))
    won = await run(
        redis,
        _FINISH,
        (places, versions, meta, *filling, *leaving),
        (build_id, epoch, keys.FEED, board.tag, origin),
    )
    return Rebuilt(loaded, epoch) if won else None


async def write_recent(conn: Connection, redis: Redis, applied_after: datetime) -> int:
    """Writes again the open boards' entries of all players whom the ledger touched since; returns how many.

    Boards that Redis does not have are left to their rebuild. Raises redis.exceptions.RedisError, asyncpg errors.
    """
    async with conn.transaction(readonly=True):
        return await _write_rows(redis, await conn.cursor(_SQL["recent_entries"], applied_after))


async def _write_rows(
    redis: Redis, cursor: Cursor, on_written: Callable[[int], None] = lambda written: None, *, for_rebuild: bool = False
) -> int:
    written = 0

    async def write(rows: Sequence[Record]) -> None:
        nonlocal written
        for chunk in _chunks(rows):  # not in one pipeline: Redis runs that to its end before it serves anyone else
            await write_entries(redis, map(entry_of, chunk), map(name_of, chunk), for_rebuild=for_rebuild)
            written += len(chunk)
            on_written(written)

    # No TaskGroup: where a part fails at its end, it leaves its own task asked to cancel (before Python 3.13), and on
    # 3.11.2 that task's next timeout then ends it.
    writing: set[asyncio.Task[None]] = set()
    try:
        while rows := await cursor.fetch(FETCH_ROWS, timeout=FETCH_TIMEOUT_S):
            if len(writing) == WRITES_AT_ONCE:
                done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
            writing.add(asyncio.create_task(write(rows), name="write chunks"))
        await asyncio.gather(*writing)
    finally:
        await end(*writing)
    return written


def name_of(row: Record) -> UserName:
    """Returns what boards show of the player of a row of entries."""
    return UserName(row["user_ref"], row["name_version"], row["user_id"], row["username"])


async def is_ready(redis: Redis, board: BoardKey) -> bool:
    """Whether the board may be read. Raises redis.exceptions.RedisError when Redis is away."""
    state = await redis.hget(keys.meta(board), "state")
    return state in (b"ready", "ready")


async def is_right(redis: Redis, board: BoardKey, origin: str) -> bool:
    """Whether the board may be read and was built under this origin; raises as is_ready."""
    state, built_under = await redis.hmget(keys.meta(board), "state", "origin")
    return bool(state == b"ready" and built_under == origin.encode())


async def list_boards(redis: Redis) -> set[BoardKey]:
    """Returns the boards that have a view, or had one when it was copied; raises as is_ready."""
    return {BoardKey.from_tag(text(tag)) for tag in await redis.smembers(keys.BOARDS)}


async def distrust(redis: Redis, board: BoardKey) -> None:
    """Takes a board from its readers; the workers build it anew. Raises as is_ready."""
    await redis.hdel(keys.meta(board), "state")


async def drop(redis: Redis, board: BoardKey) -> None:
    """Removes a closed period's view; readers then ask Postgres."""
    places, versions, meta = keys.places(board), keys.versions(board), keys.meta(board)
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.unlink(meta, places, versions, keys.new(places), keys.new(versions))
        pipeline.srem(keys.BOARDS, board.tag)
        await pipeline.execute()


def _apply_keys(board: BoardKey) -> tuple[str, ...]:
    places, versions = keys.places(board), keys.versions(board)
    return (places, versions, keys.meta(board), keys.new(places), keys.new(versions))


# One text of a chunk: packing nine arguments an entry took the client twice as long as all the rest.
def _entries_json(entries: Iterable[Entry]) -> bytes:
    return orjson.dumps(
        [
            (
                encode_user(entry.user_ref),
                str(-entry.score),
                encode_reached(entry.reached_at),
                str(entry.version),
                entry.hidden,
            )
            for entry in entries
        ]
    )


def _names_json(names: Iterable[UserName]) -> bytes:
    return orjson.dumps(
        [(encode_user(name.user_ref), str(name.version), name.user_id, name.username) for name in names]
    )


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[i : i + CHUNK_ENTRIES] for i in range(0, len(items), CHUNK_ENTRIES)]
