"""worker/upkeep.py, board/period_store.py: periods that a board keeps no longer lose their totals, and only they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from board.entry import BoardKey
from board.period_store import close_periods, list_periods
from board.verify import verify
from tests.boards import TOML, World, add_players, apply_rows, make_world, row
from tests.servers import Database, RedisServer
from worker import upkeep
from worker.upkeep import drop_old_periods

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
TWO_DAYS_KEPT = TOML.replace("[boards.daily]", f"[boards.daily]\nkeep_s = {2 * 86_400}")


@pytest.fixture
async def world(database: Database, redis_view: RedisServer) -> AsyncIterator[World]:
    assert TWO_DAYS_KEPT != TOML
    async with make_world(database, redis_view, TWO_DAYS_KEPT) as made:
        yield made


async def score_on(world: World, days_ago: int, refs: list[int]) -> BoardKey:
    """Gives each player an update on that day, and returns the day's board."""
    at = NOW - days_ago * DAY
    rows = [row(f"p{n}", ref, f"{days_ago}", n, at=at) for n, ref in enumerate(refs, start=1)]
    await apply_rows(world, rows, [f"p{n}" for n in range(1, len(refs) + 1)], applied_at=at)
    return world.key("daily", at)


async def counts(world: World) -> dict[BoardKey, int]:
    """How many entries each period has."""
    rows = await world.owner.fetch("SELECT board_id, period_start, count(*) FROM board_entries GROUP BY 1, 2")
    return {BoardKey(board_id, start): count for board_id, start, count in rows}


async def test_a_period_goes_when_its_boards_time_to_keep_it_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "REMOVED_AT_ONCE", 5)
    monkeypatch.setattr(upkeep, "PAUSE_S", 0.0)
    refs = await add_players(world, 12)
    days = {days_ago: await score_on(world, days_ago, refs) for days_ago in (9, 8, 2, 0)}
    await close_periods(world.worker)
    before = await counts(world)
    await asyncio.gather(*(drop_old_periods(world.worker) for _ in range(3)))
    gone = {days[9], days[8]}
    assert await counts(world) == {board: count for board, count in before.items() if board not in gone}
    listed = await list_periods(world.worker, days[0].board_id)
    assert [stored.board for stored in listed] == [days[0], days[2]]
    await world.owner.execute("UPDATE board_periods SET state = 1 WHERE state = 0")  # no view here
    assert (await verify(world.owner, world.redis)).differences == ()
    assert await world.owner.fetchval("SELECT count(*) FROM score_logs") == 4 * 12


async def test_a_worker_that_ended_while_it_dropped_a_period_is_followed_by_another(world: World) -> None:
    refs = await add_players(world, 3)
    old = await score_on(world, 9, refs)
    await close_periods(world.worker)
    await world.owner.execute("UPDATE board_periods SET state = 2 WHERE board_id = $1 AND period_start = $2", *old)
    await world.owner.execute("DELETE FROM board_entries WHERE user_ref = $1 AND board_id = $2", refs[0], old.board_id)
    await drop_old_periods(world.worker)
    assert old not in await counts(world)
