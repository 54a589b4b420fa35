"""Compares what must be equal: ledger, entries, players' scores and the view, for every board, period and player.

Writes nothing. The fold of the ledger is SQL here, so that board/fold.py is not its own witness. Holds always: the
ledger, the entries and the scores are compared inside one snapshot; the view, which follows a commit by milliseconds,
is compared again until nothing differs, and only what differs each time counts.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis

from board import keys
from board.entry import BoardKey, Operator
from board.ledger import entry_of
from board.order import encode_member, encode_user
from mesh.sql import Connection, load

_SQL = load("board", "verify.sql")
_VIEW_SQL = load("board", "view.sql")
_FOLDS = {
    Operator.SUM: "sum_differences",
    Operator.BEST: "best_differences",
    Operator.LAST: "last_differences",
}
ATTEMPTS = 10  # with the pause: the view has five seconds to follow, as promised
PAUSE_S = 0.5
_SCAN_COUNT = 1_000
SECONDS = 600.0  # a fold of a large ledger is one long query


@dataclass(frozen=True, slots=True)
class Difference:
    """Two that should be equal. user: the inner number, empty for a whole board. what: which two."""

    board: str
    period: str
    user: str
    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared, and what differs (at most 1,000 of a board and kind)."""

    periods: int
    entries: int
    applied: int
    refused: int
    dead_letters: int
    differences: tuple[Difference, ...]


async def verify(pool: asyncpg.Pool, redis: Redis) -> Verified:
    """Compares everything. Needs the owner's rights in both; redis: a client whose calls may take seconds.

    Raises the driver's errors when Postgres or Redis does not answer.
    """
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        periods = await conn.fetch(_SQL["periods"])
        counts = await conn.fetchrow(_SQL["counts"], timeout=SECONDS)
        assert counts is not None
        differences = await _ledger_differences(conn, periods)
    for period in periods:
        if period["state"] == 0:
            differences += await _settled_view_differences(pool, redis, period)
    return Verified(
        len(periods),
        counts["entries"],
        counts["applied"],
        counts["refused"],
        counts["dead_letters"],
        tuple(differences),
    )


async def _ledger_differences(conn: Connection, periods: list[asyncpg.Record]) -> list[Difference]:
    differences = []
    for period in periods:
        found = await conn.fetch(
            _SQL[_FOLDS[Operator(period["operator"])]],
            period["board_id"],
            period["period_start"],
            period["period_end"],
            period["closes_at"],
            period["actions"],
            period["revision"],
            timeout=SECONDS,
        )
        for row in found:
            ledger, entry = f"{row['ledger']} at {row['ledger_at']}", f"{row['entry']} at {row['entry_at']}"
            differences.append(_difference(period, row["user_ref"], "ledger and entry", ledger, entry))
    for row in await conn.fetch(_SQL["score_differences"], timeout=SECONDS):
        user, entry, score = str(row["user_ref"]), str(row["entry"]), str(row["score"])
        differences.append(Difference("all", "all-time", user, "entry and users.score", entry, score))
    for row in await conn.fetch(_SQL["hidden_differences"], timeout=SECONDS):
        board, start, user = str(row["board_id"]), str(row["period_start"]), str(row["user_ref"])
        wanted, hidden = ("hidden" if row["state"] else "shown"), ("hidden" if row["hidden"] else "shown")
        differences.append(Difference(board, start, user, "player's state and entry", wanted, hidden))
    for row in await conn.fetch(_SQL["stray_entries"], timeout=SECONDS):
        board, start, user = str(row["board_id"]), str(row["period_start"]), str(row["user_ref"])
        differences.append(Difference(board, start, user, "period and entry", "no entry", str(row["score"])))
    return differences


async def _settled_view_differences(pool: asyncpg.Pool, redis: Redis, period: asyncpg.Record) -> list[Difference]:
    remaining: dict[tuple[str, str], Difference] = {}
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        found = {(d.user, d.what): d for d in await _view_differences(pool, redis, period)}
        remaining = {key: found[key] for key in found if attempt == 0 or key in remaining}
        if not remaining:
            break
    return list(remaining.values())


async def _view_differences(pool: asyncpg.Pool, redis: Redis, period: asyncpg.Record) -> list[Difference]:
    board = BoardKey(period["board_id"], period["period_start"])
    if (await redis.hget(keys.meta(board), "state")) not in (b"ready", "ready"):
        if not await pool.fetchval(_SQL["is_open"], *board):
            return []  # closed since the snapshot, and its view has gone
        return [_difference(period, "", "entries and view", "a board", "none that is ready")]
    truth = await _truth(pool, board)
    differences = []
    for what, expected, found in zip(
        ("entry and version in the view", "entry and place in the view", "player and name in the view"),
        truth,
        await _view(redis, board, truth[2]),
        strict=True,
    ):
        for user in sorted(expected.keys() | found.keys()):
            if expected.get(user) != found.get(user):
                known, shown = str(expected.get(user)), str(found.get(user))
                differences.append(_difference(period, user, what, known, shown))
    return differences


_Parts = tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]]


async def _truth(pool: asyncpg.Pool, board: BoardKey) -> _Parts:
    versions, places, names = {}, {}, {}
    async with pool.acquire() as conn:
        for row in await conn.fetch(_VIEW_SQL["all_entries"], *board, timeout=SECONDS):
            entry, user = entry_of(row), encode_user(row["user_ref"])
            member = encode_member(entry.reached_at, entry.user_ref)
            versions[user] = f"{entry.version} {'-' if entry.hidden else member}"
            if not entry.hidden:
                places[member] = str(entry.score)
            names[user] = f"{row['name_version']}\x1f{row['user_id']}\x1f{row['username']}"
    return versions, places, names


async def _view(redis: Redis, board: BoardKey, named: Mapping[str, str]) -> _Parts:
    versions = {
        _text(user): _text(version) async for user, version in redis.hscan_iter(keys.versions(board), count=_SCAN_COUNT)
    }
    places = {
        _text(member): str(-int(score))
        async for member, score in redis.zscan_iter(keys.places(board), count=_SCAN_COUNT)
    }
    names: dict[str, str] = {}
    users = list(named)
    for i in range(0, len(users), _SCAN_COUNT):
        chunk = users[i : i + _SCAN_COUNT]
        for user, name in zip(chunk, await redis.hmget(keys.USERS, chunk), strict=True):
            if name is not None:
                names[user] = _text(name)
    return versions, places, names


def _difference(period: asyncpg.Record, user: object, what: str, expected: str, found: str) -> Difference:
    return Difference(period["name"], period["label"], str(user), what, expected, found)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
