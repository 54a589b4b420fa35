"""Acts on a player, by real workers: each happens once, everywhere, and leaves a line in the admin log."""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from board import acts, keys, ledger
from board.acts import ActTooSlow
from board.catalogue_cache import CatalogueCache
from board.dead_letters import file_dead_letters
from board.instant import to_us
from board.job_pb2 import Job
from board.ledger import Kind, Outcome, State
from board.update_id import first_id
from mesh.postgres import create_pool
from tests.servers import Database
from tests.sizes import sized
from tests.waiting import POLL_S, eventually
from tests.workers import OPERATOR, Bench, act, do, now_us, reversal, shown
from worker.apply import Applier
from worker.failure import is_nobodys

GONE = {Kind.BAN.word, Kind.DELETE.word}


async def log_of(bench: Bench) -> list[tuple[str, str, str]]:
    rows = await bench.pool.fetch("SELECT actor, action, reason FROM admin_log ORDER BY id")
    return [(row["actor"], row["action"], row["reason"]) for row in rows]


async def test_a_banned_player_leaves_every_board_is_refused_and_comes_back_with_the_points(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    async with bench.workers(2):
        first = [bench.job(anna), bench.job(ben), bench.job(anna, "match-result", reporter="a", value=321)]
        await bench.send(*first)
        await bench.answers(first)
        assert await do(bench, act(Kind.BAN, anna)) == [(0, "")]
        for board in ("all", "daily", "weekly", "top-match", "last-match"):
            assert anna not in await shown(bench, board)
        assert await do(bench, bench.job(anna)) == [(1, "BANNED")]
        assert await do(bench, act(Kind.ADJUSTMENT, anna, value=5)) == [(1, "BANNED")]
        await bench.verified()
        assert await do(bench, act(Kind.UNBAN, anna), bench.job(anna)) == [(0, ""), (0, "")]
        assert await shown(bench) == {anna: 421, ben: 50}
        assert await shown(bench, "top-match") == {anna: 321}
        await bench.verified()
    assert await log_of(bench) == [(OPERATOR, "ban", "a reason"), (OPERATOR, "unban", "a reason")]


async def test_a_reversal_counts_once_and_hits_the_periods_the_points_went_to(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    yesterday = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    late = bench.job(anna, at_us=to_us(yesterday))
    today = bench.job(anna)
    async with bench.workers(2):
        await bench.pool.execute("UPDATE boards SET grace = '2 days'")
        await bench.send(late, today)
        await bench.answers([late, today])
        # The day closes; its entry stays, and the reversal finds it.
        day = yesterday.replace(hour=0)
        await bench.pool.execute("UPDATE board_periods SET state = 1 WHERE period_start = $1", day)
        assert await do(bench, reversal(late), reversal(late), reversal(today)) == [(0, "")] * 3
        assert await bench.scores() == {anna: 0}
        scores = await bench.pool.fetch("SELECT DISTINCT score FROM board_entries")
        assert [row["score"] for row in scores] == [0]
        assert (await shown(bench, "daily")) == {anna: 0}
        rows = [row for row in await bench.rows() if row["kind"] == Kind.REVERSAL]
        assert {(row["reverses"].bytes, row["score_change"], row["accepted_at"]) for row in rows} == {
            (late.update_id, -50, yesterday),
            (today.update_id, -50, next(r["accepted_at"] for r in rows if r["reverses"].bytes == today.update_id)),
        }


async def test_what_an_archived_month_held_stays_on_boards_of_best_values(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=200)
    bounds = f"FROM ('{first_id(month)}') TO ('{first_id(month + timedelta(days=28))}')"
    await bench.pool.execute(f"CREATE TABLE old PARTITION OF score_logs FOR VALUES {bounds}")
    best, low, middle = (
        bench.job(anna, "match-result", reporter="a", value=value, at_us=at_us)
        for value, at_us in ((300, to_us(month + timedelta(days=1))), (100, now_us()), (200, now_us() + 1))
    )
    async with bench.workers(1):
        assert await do(bench, best, low, middle) == [(0, "")] * 3
        await bench.pool.execute("ALTER TABLE score_logs DETACH PARTITION old")
        for jobs in (
            [act(Kind.RENAME, anna, name="Ann")],
            [act(Kind.BAN, anna), act(Kind.UNBAN, anna)],
            [reversal(middle)],
        ):
            assert {outcome for outcome, _ in await do(bench, *jobs)} == {Outcome.APPLIED}
            assert await shown(bench, "top-match") == {anna: 300}
        assert await shown(bench, "last-match") == {anna: 100}


async def test_a_new_name_is_unique_shown_and_moves_the_boards_version(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    async with bench.workers(1):
        await do(bench, bench.job(anna), bench.job(ben))
        before = await bench.pool.fetch("SELECT version FROM board_entries WHERE user_ref = 1")
        assert await do(bench, act(Kind.RENAME, anna, name="Ann", name_key="ann")) == [(0, "")]
        assert await do(bench, act(Kind.RENAME, ben, name="ANN", name_key="ann")) == [(1, "USERNAME_TAKEN")]
        assert await do(bench, act(Kind.RENAME, anna, name="ANN", name_key="ann")) == [(0, "")]
        after = await bench.pool.fetch("SELECT version FROM board_entries WHERE user_ref = 1")
        assert [row["version"] for row in after] == [row["version"] + 2 for row in before]
        assert str(await bench.redis.hget(keys.USERS, "000000000001")).endswith("ANN'")
        await bench.verified()
    # A name must not stay in what outlives its player.
    log = await bench.pool.fetch("SELECT * FROM admin_log")
    assert "Ann" not in json.dumps([dict(row) for row in log], default=str)


async def test_an_erased_player_is_gone_but_the_ledger_is_whole(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    for ref in (1, 2):
        await bench.pool.execute("INSERT INTO credentials (user_ref, password_hash) VALUES ($1, '-')", ref)
        await bench.pool.execute(
            "INSERT INTO sessions (sid, user_ref, master_key_id, expires_at) VALUES ($1, $2, 1, now())", uuid4(), ref
        )
    await bench.pool.execute("INSERT INTO identities (issuer, subject, user_ref) VALUES ('studio', 'anna@x', 1)")
    await bench.pool.execute("UPDATE users SET role = 2")
    letters = [act(Kind.RENAME, user_id, name=f"{anna} it is") for user_id in (anna, ben)]
    jobs = [letter.SerializeToString() for letter in letters]
    broken = (uuid4(), jobs[0][:-1], "UNDECODABLE", 0)
    filed = [(UUID(bytes=job.update_id), body, "FAILED_x", 1) for job, body in zip(letters, jobs, strict=True)]
    await file_dead_letters(bench.pool, [*filed, broken])
    erasure = act(Kind.DELETE, anna)
    async with bench.workers(1):
        assert await do(bench, bench.job(anna), bench.job(ben), erasure, erasure) == [(0, "")] * 4
        assert await shown(bench) == {ben: 50}
        # The studio's own id says who that was; it is free for a new player of that name.
        assert await bench.redis.hget(keys.REFS, anna) is None
        assert await do(bench, bench.job(anna)) == [(1, "UNKNOWN_USER")]
        assert await do(bench, act(Kind.UNBAN, "erased_1")) == [(1, "UNKNOWN_USER")]
        await bench.verified()
    row = await bench.pool.fetchrow("SELECT user_id, username, username_key, state, role FROM users WHERE id = 1")
    assert row is not None
    assert tuple(row) == ("erased_1", "erased player", None, State.DELETED, 0)
    assert await bench.pool.fetchval("SELECT role FROM users WHERE id = 2") == 2
    assert await bench.dead() == {letters[1].update_id: "FAILED_x", broken[0].bytes: "UNDECODABLE"}
    for table in ("credentials", "sessions", "identities"):
        refs = await bench.pool.fetch(f"SELECT user_ref FROM {table}")
        assert 1 not in [row["user_ref"] for row in refs]
    assert await bench.pool.fetchval("SELECT count(*) FROM score_logs WHERE user_ref = 1") == 3


@pytest.mark.parametrize("has_password", [True, False])
async def test_an_erasure_and_a_login_wait_for_one_another_in_one_order(
    bench: Bench, database: Database, has_password: bool
) -> None:
    (anna,) = await bench.add_players(1)
    add_password = "INSERT INTO credentials (user_ref, password_hash) VALUES (1, '-')"
    if has_password:
        await bench.pool.execute("UPDATE users SET username_key = 'anna'")
        await bench.pool.execute(add_password)

    async def erase() -> None:
        async with (
            await create_pool(database.url("worker"), name="test", size=1) as pool,
            pool.acquire() as conn,
            conn.transaction(),
        ):
            await ledger.lock_users(conn, [anna])
            await acts.erase(conn, 1)

    async with bench.pool.acquire() as conn, asyncio.TaskGroup() as tasks, conn.transaction():
        add_session = "INSERT INTO sessions (sid, user_ref, master_key_id, expires_at) VALUES ($1, 1, 1, now())"
        if has_password:  # as auth_svc's add_session: the password's lock, then the session
            await conn.execute("SELECT FROM credentials FOR SHARE")
        else:  # a guest's session, who sets a first password
            await conn.execute(add_session, uuid4())
            await conn.execute(add_password)
        tasks.create_task(erase(), name="erase")
        await bench.until_waiting(1)
        await conn.execute(add_session, uuid4())
    for table in ("credentials", "sessions"):
        assert await bench.pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await bench.pool.fetchval("SELECT state FROM users") == State.DELETED


async def test_an_act_that_takes_too_long_is_its_own_error_and_undone(bench: Bench, database: Database) -> None:
    (anna,) = await bench.add_players(1)
    ban = act(Kind.BAN, anna)
    async with await create_pool(database.url("worker"), name="test", size=2, command_timeout_s=0.3) as pool:
        catalogues = CatalogueCache(pool)
        await catalogues.start()
        applier = Applier(pool, catalogues)
        try:
            async with bench.pool.acquire() as conn, conn.transaction():
                await conn.execute("LOCK TABLE board_entries")
                with pytest.raises(ActTooSlow) as raised:
                    await applier.apply([ban])
            assert not is_nobodys(raised.value)
            assert await bench.rows() == []
            result = (await applier.apply([ban])).results[ban.update_id]
            assert result.outcome == Outcome.APPLIED
        finally:
            await catalogues.close()


async def test_what_missed_redis_is_shown_when_the_act_is_delivered_again(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    ban = act(Kind.BAN, anna)
    async with bench.workers(1):
        await do(bench, bench.job(anna))
    (bench.points / "worker.after_commit").write_text("SIGKILL")
    async with bench.workers(2) as both:
        await bench.send(ban)
        await bench.until_applied(2)

        def is_one_dead() -> bool:
            return any(worker.returncode is not None for worker in both)

        await eventually(is_one_dead, 30, "a dead worker")
        await bench.answers([ban])
        await bench.verified()
    assert len(await log_of(bench)) == 1


@pytest.mark.promise(row=37)
@pytest.mark.timeout(900)
async def test_acts_race_updates_of_the_same_player(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    rounds = sized(50, 1000)
    *players, bystander = await bench.add_players(rounds + 1)
    dice = random.Random(random.getrandbits(64))
    sent = [bench.job(bystander)]
    is_over = asyncio.Event()
    async with bench.workers(2), asyncio.TaskGroup() as tasks:
        assert await do(bench, *sent) == [(0, "")]
        watching = tasks.create_task(_shown_though_gone(bench, sent, bystander, is_over), name="watch")
        for first in range(0, rounds, 50):
            jobs = [job for user_id in players[first : first + 50] for job in _race(bench, dice, user_id)]
            dice.shuffle(jobs)
            sent += jobs
            # An envelope of 20 goes to either worker.
            await asyncio.gather(*(bench.send(*jobs[i : i + 20]) for i in range(0, len(jobs), 20)))
            await bench.answers(jobs, 120)
        await bench.verified()
        is_over.set()
    assert watching.result() == set()
    results = {job.update_id: bench.results[job.update_id][0] for job in sent}
    rows = {row["id"].bytes: row for row in await bench.rows()}
    # What has no row was refused for a reason that leaves none; nothing is in two places.
    missing = {results[key].reason for key in results.keys() - rows.keys()}
    assert missing <= {"NOT_FOUND", "UNKNOWN_USER"}
    assert rows.keys() <= results.keys()
    assert await bench.dead() == {}
    gone = await bench.pool.fetch("SELECT user_id FROM users WHERE state <> 0")
    assert {row["user_id"] for row in gone} == set(players)
    assert set(await shown(bench)) == {bystander}
    reversed_ids = [row["reverses"] for row in rows.values() if row["reverses"] is not None]
    assert reversed_ids
    assert len(reversed_ids) == len(set(reversed_ids))
    record_property("updates", len(sent))


def _race(bench: Bench, dice: random.Random, user_id: str) -> list[Job]:
    updates = [bench.job(user_id) for _ in range(4)]
    acts = [
        reversal(updates[0]),
        reversal(updates[0]),
        act(Kind.RENAME, user_id, name="Renamed"),
        act(Kind.ADJUSTMENT, user_id, value=7),
        act(dice.choice((Kind.BAN, Kind.DELETE)), user_id),
    ]
    return updates + acts


async def _shown_though_gone(bench: Bench, sent: list[Job], bystander: str, is_over: asyncio.Event) -> set[str]:
    """Reads the board all the time; returns who was on it after the ban or the erasure had been answered."""
    found: set[str] = set()
    while not is_over.is_set():
        gone = {job.user_id for job in sent if job.kind in GONE and job.update_id in bench.results}
        on_board = set(await shown(bench))
        assert bystander in on_board
        found |= gone & on_board
        await asyncio.sleep(POLL_S)
    return found
