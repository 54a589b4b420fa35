"""What board/ledger.py, period_store.py, dead_letters.py and partitions.py ask of a real Postgres."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from board import ledger
from board.dead_letters import file_dead_letters, find_dead_letters, remove_dead_letters
from board.entry import Entry
from board.ledger import ActionUsage, Outcome
from board.partitions import count_unplaced, ensure_partitions, oldest_id
from board.period_store import PeriodState, close_periods, ensure_periods, list_periods, open_periods
from board.periods import BEGINNING, END
from board.update_id import derive_update_id, first_id
from board.verify import verify
from tests.boards import START, TOML, World, add_players, apply_rows, make_world, random_rows, row
from tests.servers import Database, RedisServer

OPERATORS = """
[boards.best]
operator = "best"
period = "week"
time_zone = "America/New_York"

[boards.last]
operator = "last"
actions = ["win-round"]
"""


@pytest.fixture
async def world(database: Database, redis_view: RedisServer) -> AsyncIterator[World]:
    async with make_world(database, redis_view, TOML + OPERATORS) as made:
        yield made


async def test_one_update_reaches_every_board_and_the_players_score(world: World) -> None:
    (ref,) = await add_players(world, 1)
    entries = await apply_rows(world, [row("p1", ref, "a", 50)], ["p1"])
    scores = {entry.board: (entry.score, entry.version) for entry in entries}
    assert scores == {world.key(board, START): (50, 1) for board in ("all", "daily", "weekly", "best", "last")}
    assert await world.owner.fetchval("SELECT score FROM users") == 50


@pytest.mark.promise(row=15)
async def test_a_row_that_is_there_counts_once_from_two_workers_at_once(world: World) -> None:
    """Before and after a month's end, and again later."""
    (ref,) = await add_players(world, 1)
    month_end = (datetime.now(UTC).replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0)
    month_end = month_end.replace(microsecond=0)  # the end of this month, whose partitions are there
    instants = (month_end - timedelta(microseconds=1), month_end)
    rows = [row("p1", ref, f"n{n}", 7, at=at) for n, at in enumerate(instants)]
    results = await asyncio.gather(*(apply_rows(world, rows, ["p1"]) for _ in range(4)))
    assert sorted(len(entries) for entries in results)[:3] == [0, 0, 0]
    assert await apply_rows(world, rows, ["p1"]) == []
    partitions = await world.owner.fetch("SELECT tableoid::regclass::text AS name FROM score_logs ORDER BY id")
    assert [found["name"] for found in partitions] == [f"score_logs_{at:%Y_%m}" for at in instants]
    assert await world.owner.fetchval("SELECT score FROM users") == 14
    assert await count_unplaced(world.worker) == 0


async def test_entries_are_the_fold_however_the_rows_are_batched(world: World) -> None:
    source = random.Random(7)
    refs = await add_players(world, 6)
    users = [f"p{n + 1}" for n in range(6)]
    rows = random_rows(source, refs, 400)
    batches = []
    while rows:
        size = source.randrange(1, 40)
        batches.append(rows[:size])
        rows = rows[size:]
    batches += source.sample(batches, 5)  # redelivered
    for batch in source.sample(batches, len(batches)):
        await apply_rows(world, batch, users)
    await world.owner.execute("UPDATE board_periods SET state = 1")  # no view here: ledger and entries alone
    found = await verify(world.owner, world.redis)
    assert found.differences == ()
    assert found.applied == 400
    assert found.entries == 36  # of 8 periods, those of past days have closed


async def test_a_refused_row_is_kept_and_counts_nowhere(world: World) -> None:
    (ref,) = await add_players(world, 1)
    refused = row("p1", ref, "a", 50, applied=False)
    assert await apply_rows(world, [refused], ["p1"]) == []
    recorded = (await ledger.find_updates(world.worker, [refused.update_id]))[refused.update_id]
    assert (recorded.outcome, recorded.reason, recorded.score_change) == (Outcome.REFUSED, "COOLDOWN", 0)
    assert (recorded.user_id, recorded.username, recorded.action_id) == ("p1", "P1", "win-round")


async def test_updates_that_are_not_there_are_not_found(world: World) -> None:
    unknown = derive_update_id(1_795_000_000_000, reporter="", user_id="p1", nonce="none")
    assert await ledger.find_updates(world.worker, [unknown]) == {}
    assert await ledger.find_updates(world.worker, []) == {}


async def test_players_are_locked_in_the_order_of_their_numbers(world: World) -> None:
    refs = await add_players(world, 5)
    async with world.worker.acquire() as conn, conn.transaction():
        users, applied_at = await ledger.lock_users(conn, ["p4", "p2", "p2", "nobody", "p5"])
        assert [user.user_ref for user in users] == [refs[1], refs[3], refs[4]]
        assert applied_at == await conn.fetchval("SELECT now()")
        assert users[0].name.username == "P2"
        with pytest.raises(asyncpg.LockNotAvailableError):
            await world.owner.execute("SELECT FROM users WHERE user_id = 'p4' FOR NO KEY UPDATE NOWAIT")


@pytest.mark.promise(row=17)
async def test_workers_over_the_same_players_never_deadlock(world: World) -> None:
    refs = await add_players(world, 20)
    before = await world.owner.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    async def work(seed: int) -> None:
        source = random.Random(seed)
        for turn in range(15):
            chosen = source.sample(range(20), 12)
            rows = [row(f"p{i + 1}", refs[i], f"{seed % 3}-{turn}-{i}", 1) for i in chosen]
            await apply_rows(world, rows, [f"p{i + 1}" for i in chosen])

    await asyncio.gather(*(work(seed) for seed in range(6)))
    after = await world.owner.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after == before
    total = await world.owner.fetchval("SELECT sum(score) FROM users")
    assert total == await world.owner.fetchval("SELECT count(*) FROM score_logs")


async def test_a_score_never_leaves_the_range_that_everyone_can_show(world: World) -> None:
    (ref,) = await add_players(world, 1)
    await apply_rows(world, [row("p1", ref, "a", 2**53)], ["p1"])
    with pytest.raises(asyncpg.CheckViolationError):
        await apply_rows(world, [row("p1", ref, "b", 1)], ["p1"])
    assert await world.owner.fetchval("SELECT count(*) FROM score_logs") == 1


async def test_current_entries_are_read_for_a_rewrite(world: World) -> None:
    refs = await add_players(world, 2)
    rows = [row(f"p{n + 1}", ref, "a", 5) for n, ref in enumerate(refs)]
    entries = await apply_rows(world, rows, ["p1", "p2"])
    boards = [world.all, world.key("daily", START)]
    found = await ledger.read_entries(world.worker, boards, refs)
    assert sorted(found, key=_key) == sorted((e for e in entries if e.board in boards), key=_key)


def _key(entry: Entry) -> tuple[int, int]:
    return (entry.board.board_id, entry.user_ref)


async def test_usage_is_written_and_read_by_player_and_action(world: World) -> None:
    refs = await add_players(world, 2)
    usage = [ActionUsage(ref, "daily-bonus", START, START, 1) for ref in refs]
    async with world.worker.acquire() as conn:
        await ledger.put_usage(conn, usage)
        later = ActionUsage(refs[0], "daily-bonus", START + timedelta(hours=1), START, 2)
        await ledger.put_usage(conn, [later])
        found = await ledger.read_usage(conn, refs, ["daily-bonus", "win-round"])
    assert found == {(refs[0], "daily-bonus"): later, (refs[1], "daily-bonus"): usage[1]}


async def test_dead_letters_are_filed_once_found_and_removed(world: World) -> None:
    (ref,) = await add_players(world, 1)
    known, lost = row("p1", ref, "known", 1), row("p1", ref, "lost", 1)
    await apply_rows(world, [known], ["p1"])
    letters = [(known.update_id, b"job", "POISON", 4), (lost.update_id, b"job", "POISON", 4)]
    await file_dead_letters(world.worker, letters)
    await file_dead_letters(world.worker, [(lost.update_id, b"job", "TOO_OLD", 5)])
    found = await find_dead_letters(world.worker, [known.update_id, lost.update_id])
    assert {key: (letter.reason, letter.attempts) for key, letter in found.items()} == {lost.update_id: ("TOO_OLD", 5)}
    await remove_dead_letters(world.worker, [lost.update_id])
    assert await find_dead_letters(world.worker, [lost.update_id]) == {}


@pytest.mark.promise(row=16)
async def test_a_row_without_a_partition_lands_and_moves_when_there_is_one(world: World) -> None:
    """Nothing is refused for want of a partition, and upkeep finds it."""
    (ref,) = await add_players(world, 1)
    far = datetime.now(UTC) + timedelta(days=365 * 5)
    await apply_rows(world, [row("p1", ref, "a", 5, at=far)], ["p1"])
    assert await count_unplaced(world.worker) == 4  # the ledger row, and entries of daily, weekly and best
    assert await ensure_partitions(world.worker, far + timedelta(days=32)) > 0
    assert await count_unplaced(world.worker) == 0
    assert await ensure_partitions(world.worker, far + timedelta(days=32)) == 0
    assert await world.owner.fetchval("SELECT count(*) FROM score_logs") == 1
    assert await world.owner.fetchval("SELECT count(*) FROM board_entries") == 5
    assert await apply_rows(world, [row("p1", ref, "a", 5, at=far)], ["p1"]) == []  # still the same key


async def test_partitions_are_made_while_workers_write(world: World) -> None:
    refs = await add_players(world, 4)

    async def write() -> None:
        for turn in range(30):
            await apply_rows(
                world, [row(f"p{n + 1}", ref, f"w{turn}", 1) for n, ref in enumerate(refs)], ["p1", "p2", "p3", "p4"]
            )

    writing = asyncio.create_task(write(), name="writer")
    until = datetime.now(UTC) + timedelta(days=365 * 2)
    while not writing.done():
        until += timedelta(days=31)
        await ensure_partitions(world.worker, until)
    await writing
    assert await world.owner.fetchval("SELECT sum(score) FROM users") == 120


@pytest.mark.promise(row=16)
async def test_the_oldest_partition_says_which_jobs_are_too_old(world: World) -> None:
    now = datetime.now(UTC)
    month = (now.replace(day=1) - timedelta(days=1)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert await oldest_id(world.worker) == first_id(month)


async def test_a_period_is_made_once_and_keeps_its_closing_time(world: World) -> None:
    daily = world.catalogue.boards["daily"]
    wanted = [(daily.board_id, daily, daily.period_at(START))]
    made = await asyncio.gather(*(ensure_periods(world.worker, wanted) for _ in range(4)))
    assert all(periods == made[0] for periods in made)
    (period,) = made[0]
    assert (period.period.label, period.state) == ("2026-11-24", PeriodState.OPEN)
    assert period.closes_at == datetime(2026, 11, 25, 0, 15, tzinfo=UTC)
    everything = world.catalogue.boards["all"]
    (endless,) = await ensure_periods(world.worker, [(everything.board_id, everything, everything.period_at(START))])
    assert (endless.period.start, endless.period.end, endless.closes_at) == (BEGINNING, END, None)
    assert {stored.board for stored in await open_periods(world.worker)} == {period.board, endless.board}


async def test_periods_close_when_their_grace_is_over(world: World) -> None:
    daily = world.catalogue.boards["daily"]
    now = datetime.now(UTC)
    days = [now - timedelta(days=2), now, now + timedelta(days=2)]
    await ensure_periods(world.worker, [(daily.board_id, daily, daily.period_at(day)) for day in days])
    closed = await close_periods(world.worker)
    assert [period.period for period in closed] == [daily.period_at(days[0])]
    assert await close_periods(world.worker) == []
    listed = await list_periods(world.worker, daily.board_id)
    assert [period.state for period in listed] == [PeriodState.OPEN, PeriodState.OPEN, PeriodState.CLOSED]


async def test_a_late_row_counts_for_all_time_but_not_in_a_closed_period(world: World) -> None:
    (ref,) = await add_players(world, 1)
    late = START + timedelta(days=1)
    entries = await apply_rows(world, [row("p1", ref, "a", 5)], ["p1"], applied_at=late)
    assert world.key("daily", START) not in {entry.board for entry in entries}
    assert world.all in {entry.board for entry in entries}
    await world.owner.execute("UPDATE board_periods SET state = 1")
    assert (await verify(world.owner, world.redis)).differences == ()
