"""Asks the workers to build a board anew, and tells how far they are (worker/rebuilds.py does it).

Holds always: once asked for it is done, whoever looks on, and whichever worker ends meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg

from board import acts
from board.catalogue import DEFAULT_BOARD
from board.catalogue_cache import CatalogueCache
from board.entry import BoardKey
from board.periods import select_period
from mesh.identity import Identity
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.sql import load
from scoreboard.v1 import admin_pb2 as pb

_SQL = load(__package__, "rebuild.sql")
LOOK_S = 0.25


async def find_open(pool: asyncpg.Pool, catalogue: CatalogueCache, name: str, period: str) -> BoardKey:
    """Returns the board's period, one whose view is in Redis. Raises Refused(UNKNOWN_BOARD)."""
    board = await catalogue.board(name or DEFAULT_BOARD)
    found = select_period(board.period, board.zone, period, datetime.now(UTC)) if board else None
    if board is None or found is None or not await pool.fetchval(_SQL["is_open"], board.board_id, found.start):
        raise Refused(
            Reason.UNKNOWN_BOARD,
            f"There is no open period {period or 'of now'!r} of a board {name or DEFAULT_BOARD!r}.",
            board=name or DEFAULT_BOARD,
            period=period,
        )
    return BoardKey(board.board_id, found.start)


async def ask(pool: asyncpg.Pool, operator: Identity, board: BoardKey, reason: str) -> int:
    """Asks for the rebuild and returns its number."""
    async with pool.acquire() as conn, conn.transaction():
        number = int(await conn.fetchval(_SQL["ask"], *board))
        await acts.log_act(
            conn,
            actor=operator.subject,
            action="rebuild",
            target=f"board {board.tag}",
            reason=reason,
            before={},
            after={"rebuild": number},
        )
        return number


async def progress(pool: asyncpg.Pool, number: int) -> AsyncIterator[pb.RebuildProgress]:
    """Yields how far a rebuild is, whenever that has changed, until it is finished."""
    shown: pb.RebuildProgress | None = None
    while shown is None or not shown.finished:
        row = await pool.fetchrow(_SQL["look"], number)
        assert row is not None, "rebuilds are kept"
        now = pb.RebuildProgress(done=row["done"], total=row["total"], finished=row["is_finished"])
        if now != shown:
            yield now
            shown = now
        else:
            await asyncio.sleep(LOOK_S)
