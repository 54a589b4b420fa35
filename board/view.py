"""Writes the view of the boards in Redis: after each commit, and wholly when a board was lost or is suspect.

Holds always: the newest version of an entry wins, whatever the order in which writes arrive; a player's name is there
before the place that shows it; and a board is readable only while it is whole. So writing again is always harmless,
and a rebuild needs no lock against writers: they write to both boards until the new one takes over.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import asyncpg
from redis.asyncio import Redis

from board import keys
from board.entry import BoardKey, Entry, UserName
from board.ledger import entry_of
from board.order import encode_reached, encode_user
from board.scripts import Call, load_script, run, run_all
from mesh.sql import load

_SQL = load("board", "view.sql")
_APPLY = load_script("apply")
_NAMES = load_script("names")
_BEGIN = load_script("begin")
_FINISH = load_script("finish")
_Item = TypeVar("_Item")
CHUNK_ENTRIES = 500  # a script holds everyone up: 500 writes are about 8 ms in a board of a million


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A board that was built anew and is readable. entries: hidden ones too."""

    entries: int
    epoch: int


async def write_entries(redis: Redis, entries: Iterable[Entry], names: Iterable[UserName]) -> frozenset[BoardKey]:
    """Writes committed entries and their players' names, in one round trip.

    Returns the boards that Redis does not have: these must be rebuilt (the others are written). Raises
    redis.exceptions.RedisError when Redis is away.
    """
    calls = [Call(_NAMES, (keys.USERS, keys.REFS), _name_args(chunk)) for chunk in _chunks(list(names))]
    boards: list[BoardKey] = []
    by_board = sorted(entries, key=lambda entry: entry.board)
    for board, group in groupby(by_board, key=lambda entry: entry.board):
        for chunk in _chunks(list(group)):
            calls.append(Call(_APPLY, _apply_keys(board), _entry_args(board, chunk)))
            boards.append(board)
    if not calls:
        return frozenset()
    answers = (await run_all(redis, calls))[len(calls) - len(boards) :]
    return frozenset(
        board
        for board, answer in zip(boards, answers, strict=True)
        if isinstance(answer, list) and answer[0] in (b"REBUILD", "REBUILD")
    )


async def rebuild(pool: asyncpg.Pool, redis: Redis, board: BoardKey, *, suspect: bool = False) -> Rebuilt | None:
    """Builds a board from one snapshot of Postgres and swaps it in; an empty one too.

    suspect: what Redis has is not served meanwhile. None: another rebuild began later, and its board is as good; or
    Redis was emptied meanwhile, and the next writer asks again. Raises redis.exceptions.RedisError, asyncpg errors.
    """
    places, versions, meta = keys.places(board), keys.versions(board), keys.meta(board)
    filling = (keys.new(places), keys.new(versions))
    build_id = uuid.uuid4().hex
    # Before the snapshot: whoever commits after it finds the rebuild under way and writes to it as well.
    await run(redis, _BEGIN, (meta, *filling), (build_id, int(suspect)))
    loaded = 0
    async with pool.acquire() as conn:
        epoch: int = await conn.fetchval(_SQL["next_epoch"])
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            cursor = await conn.cursor(_SQL["all_entries"], *board)
            while rows := await cursor.fetch(CHUNK_ENTRIES):
                names = [UserName(r["user_ref"], r["name_version"], r["user_id"], r["username"]) for r in rows]
                await write_entries(redis, map(entry_of, rows), names)
                loaded += len(rows)
    leaving = (keys.old(places), keys.old(versions))
    won = await run(
        redis,
        _FINISH,
        (places, versions, meta, *filling, *leaving),
        (build_id, epoch, keys.FEED, board.tag),
    )
    return Rebuilt(loaded, epoch) if won else None


async def is_ready(redis: Redis, board: BoardKey) -> bool:
    """Whether the board may be read. Raises redis.exceptions.RedisError when Redis is away."""
    state = await redis.hget(keys.meta(board), "state")
    return state in (b"ready", "ready")


async def drop(redis: Redis, board: BoardKey) -> None:
    """Removes a closed period's view; readers then ask Postgres."""
    places, versions, meta = keys.places(board), keys.versions(board), keys.meta(board)
    # meta first in the list: no reader may meet a board that says `ready` without its places.
    await redis.unlink(meta, places, versions, keys.new(places), keys.new(versions))


def _apply_keys(board: BoardKey) -> tuple[str, ...]:
    places, versions = keys.places(board), keys.versions(board)
    return (places, versions, keys.meta(board), keys.new(places), keys.new(versions))


def _entry_args(board: BoardKey, entries: Iterable[Entry]) -> list[str | int]:
    args: list[str | int] = [keys.FEED, board.tag]
    for entry in entries:
        args += (
            encode_user(entry.user_ref),
            -entry.score,
            encode_reached(entry.reached_at),
            entry.version,
            int(entry.hidden),
        )
    return args


def _name_args(names: Iterable[UserName]) -> list[str | int]:
    args: list[str | int] = []
    for name in names:
        args += (encode_user(name.user_ref), name.version, name.user_id, name.username)
    return args


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[i : i + CHUNK_ENTRIES] for i in range(0, len(items), CHUNK_ENTRIES)]
