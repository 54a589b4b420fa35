"""A worker, as a process, on real servers: each job counts once, is shown and answered, or parked with a reason."""

import os
import random
import signal
import tempfile
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from board import queues
from board.instant import to_us
from board.job_pb2 import Job
from board.ledger import PARKED, Outcome
from board.order import SCORE_MAX
from mesh.rabbitmq import Channel
from tests.servers import Database, Vhost, start_redis
from tests.sizes import Record, sized
from tests.waiting import eventually
from tests.workers import Bench, now_us


async def test_an_update_is_counted_shown_and_answered(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    async with bench.workers(2):
        jobs = [bench.job(anna), bench.job(anna, "lose-round"), bench.job(ben, "match-result", reporter="a", value=321)]
        await bench.send(*jobs)
        first, second, third = await bench.answers(jobs)
        assert (first.outcome, first.score_after, first.points) == (Outcome.APPLIED, 50, 50)
        assert (second.score_after, second.username, second.action_id) == (30, f"Name of {anna}", "lose-round")
        assert third.score_after == 321
        assert await bench.scores() == {anna: 30, ben: 321}
        found = await bench.verified()
        # all, daily, weekly for both; top-match and last-match for ben.
        assert (found.periods, found.entries, found.applied) == (5, 8, 3)


@pytest.mark.promise(row=18)
async def test_500_jobs_of_one_player_count_exactly_and_a_cap_takes_the_first_100(
    bench: Bench, record_property: Record
) -> None:
    (anna,) = await bench.add_players(1)
    start = now_us()
    # Five at each instant, so that the id decides too.
    jobs = [bench.job(anna, "coin" if n % 2 else "win-round", at_us=start + n // 5) for n in range(500)]
    random.shuffle(jobs)
    async with bench.workers(1):
        await bench.send(*jobs)
        await bench.answers(jobs)
        await bench.verified()
    rows = await bench.rows()
    assert len({row["txid"] for row in rows}) == 1, "one batch"
    coins = sorted((job.accepted_at_us, job.update_id) for job in jobs if job.action_id == "coin")
    counted = {row["id"].bytes for row in rows if row["action_id"] == "coin" and row["outcome"] == Outcome.APPLIED}
    assert counted == {update_id for _, update_id in coins[:100]}
    assert {row["reason"] for row in rows if row["outcome"] == Outcome.REFUSED} == {"CAP_REACHED"}
    assert await bench.scores() == {anna: 250 * 50 + 100}
    record_property("updates", len(jobs))


def _around_a_months_end(bench: Bench, user_id: str, action_id: str = "win-round") -> list[Job]:
    """Returns jobs at the ends of two partitions of the ledger, the last one of a nonce from before the month's end."""
    month = to_us(datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    before, after = bench.job(user_id, action_id, at_us=month - 1), bench.job(user_id, action_id, at_us=month)
    made_before = bench.job(user_id, action_id, at_us=month - 1)
    made_before.accepted_at_us = month + 1
    return [before, after, made_before]


async def _partitions(bench: Bench) -> dict[str, int]:
    rows = await bench.pool.fetch("SELECT tableoid::regclass::text AS name, count(*) AS n FROM score_logs GROUP BY 1")
    return {row["name"]: row["n"] for row in rows}


@pytest.mark.promise(row=15)
async def test_the_same_job_counts_once_by_two_workers_and_after_a_restart(
    bench: Bench, record_property: Record
) -> None:
    anna, ben = await bench.add_players(2)
    jobs = _around_a_months_end(bench, anna)
    async with bench.workers(2):
        # Both workers have the jobs in hand before either may go on.
        async with bench.pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM users WHERE user_id = $1 FOR UPDATE", anna)
            for _ in range(10):
                await bench.send(*jobs)
            await bench.until_waiting(2)
        await bench.answers(jobs)
        await bench.verified()
    async with bench.workers(1):
        # The last of each queue tells that the others were dealt with.
        fresh, suspect, dead = (bench.job(ben) for _ in range(3))
        await bench.send(*jobs, fresh)
        for job in (*jobs, suspect):
            await bench.send(job, queue=queues.SUSPECTS)
        for job in (*jobs, dead):
            await bench.send(job, queue=queues.DEAD)
        await bench.until_applied(5)
        assert set(await bench.until_dead(1)) == {dead.update_id}
        await bench.answers([fresh])
        await bench.verified()
    assert await bench.scores() == {anna: 150, ben: 100}
    assert sorted((await _partitions(bench)).values()) == [2, 3]  # those of ben are this month's
    for job in jobs:
        answers = bench.results[job.update_id]
        assert len(answers) >= 2
        assert all(answer == answers[0] for answer in answers)
    record_property("updates", len(jobs) + 3)


async def _poison(bench: Bench) -> None:
    """Makes Postgres refuse the ledger rows of one action, as a fault would that nobody foresaw."""
    await bench.pool.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON score_logs FOR EACH ROW
        WHEN (NEW.action_id = 'poison') EXECUTE FUNCTION refuse()
        """
    )


def _bad_jobs(bench: Bench, user_id: str, rich: str) -> list[tuple[Job, str]]:
    """Returns a job of each kind that can never be applied, with the reason that it is parked with."""
    return [
        (bench.job(user_id, "poison"), "FAILED_P0001"),
        (bench.job(user_id, kind="conquer"), "UNKNOWN_KIND"),
        (bench.job(user_id, at_us=1_600_000_000_000_000), "TOO_OLD"),
        (bench.job("x" * 51), "MALFORMED"),
        (bench.job(rich), "SCORE_OUT_OF_RANGE"),
    ]


@pytest.mark.promise(row=19)
async def test_poison_goes_to_the_dead_letters_alone_each_with_its_reason(
    bench: Bench, record_property: Record
) -> None:
    *players, rich = await bench.add_players(21)
    await _poison(bench)
    await bench.pool.execute("UPDATE users SET score = $1 WHERE user_id = $2", SCORE_MAX, rich)
    good = [bench.job(players[n % 20]) for n in range(sized(500, 5_000) * 99 // 100)]
    bad = [pair for _ in range(len(good) // 495) for pair in _bad_jobs(bench, players[0], rich)]
    jobs = [*good, *(job for job, _ in bad)]
    random.shuffle(jobs)
    async with bench.workers(2):
        for start in range(0, len(jobs), 500):
            await bench.send(*jobs[start : start + 500])
        await bench.send_raw(queues.UPDATES, b"\xff not an envelope")
        results = await bench.answers(jobs, 120)
        assert Counter(result.outcome for result in results) == {Outcome.APPLIED: len(good), PARKED: len(bad)}
        dead = await bench.until_dead(len(bad) + 1)
        wanted = {job.update_id: reason for job, reason in bad}
        assert {key: reason for key, reason in dead.items() if key in wanted} == wanted
        (undecodable,) = dead.keys() - wanted.keys()
        assert dead[undecodable] == "UNDECODABLE"
        raw = await bench.pool.fetchval("SELECT job FROM dead_letters WHERE reason = 'UNDECODABLE'")
        assert raw == b"\xff not an envelope"
        attempts = await bench.pool.fetch("SELECT DISTINCT attempts FROM dead_letters WHERE reason = 'FAILED_P0001'")
        assert [row["attempts"] for row in attempts] == [4]
        await bench.pool.execute("UPDATE users SET score = 0 WHERE user_id = $1", rich)
        assert (await bench.verified()).applied == len(good)
    record_property("updates", len(jobs))
    record_property("faults", len(bad) + 1)


@pytest.mark.promise(row=15)
async def test_a_replayed_dead_letter_counts_once_and_leaves_the_table(bench: Bench, record_property: Record) -> None:
    (anna,) = await bench.add_players(1)
    await _poison(bench)
    jobs = _around_a_months_end(bench, anna, "poison")
    async with bench.workers(1):
        await bench.send(*jobs)
        assert set(await bench.until_dead(len(jobs))) == {job.update_id for job in jobs}
        assert await bench.scores() == {anna: 0}
        await bench.pool.execute("DROP TRIGGER refuse ON score_logs")
        last = bench.job(anna)
        for job in (*jobs, *jobs, last):
            await bench.send(job, queue=queues.SUSPECTS)
        await bench.until_applied(len(jobs) + 1)
        assert await bench.dead() == {}
        assert (await bench.verified()).applied == len(jobs) + 1
    assert await bench.scores() == {anna: len(jobs) * 1 + 50}
    assert sum((await _partitions(bench)).values()) == len(jobs) + 1
    record_property("updates", len(jobs) + 1)


async def test_a_worker_killed_with_a_batch_in_hand_harms_no_job(bench: Bench) -> None:
    # The other windows are those of promise 2: tests/fault/test_workers.py.
    players = await bench.add_players(10)
    jobs = [bench.job(player) for player in players for _ in range(5)]
    async with bench.workers(1) as (worker,):
        (bench.points / "worker.before_commit").write_text("SIGKILL")
        await bench.send(*jobs)
        await worker.ended()
        assert await bench.rows() == []
    async with bench.workers(1):
        await bench.until_applied(50)
        await bench.verified()
    assert await bench.dead() == {}
    assert await bench.scores() == dict.fromkeys(players, 50 * 5)


@pytest.mark.promise(row=20)
async def test_a_job_that_kills_workers_is_parked_alone(bench: Bench, record_property: Record) -> None:
    anna, ben = await bench.add_players(2)
    deadly = bench.job(ben)
    together, others = [bench.job(anna) for _ in range(99)], [bench.job(anna) for _ in range(99)]
    deliveries_max = sized(2, 5)  # each costs a worker's start; the rule knows no number
    settings = {"worker_prefetch": 100, "worker_deliveries_max": deliveries_max}
    # The job on which workers die is one that waits for a lock: there each is killed.
    async with bench.pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM users WHERE user_id = $1 FOR UPDATE", ben)
        await bench.send(*together[:50], deadly, *together[50:])
        for job in others:
            await bench.send(job)
        deaths = 2 + deliveries_max  # with all 100 messages in hand, with its envelope, then with the job alone
        for _ in range(deaths):
            async with bench.workers(1, **settings) as (worker,):
                await bench.until_waiting(1)
                await worker.kill()
            await bench.until_waiting(0)  # Postgres has noticed the death, and freed the other players
    async with bench.workers(1, **settings):
        assert await bench.until_dead(1) == {deadly.update_id: "DELIVERED_TOO_OFTEN"}
        await bench.until_applied(len(together) + len(others))
        await bench.verified()
    assert await bench.dead() == {deadly.update_id: "DELIVERED_TOO_OFTEN"}
    record_property("updates", len(together) + len(others) + 1)
    record_property("faults", deaths)


async def test_a_redis_that_is_emptied_gets_its_boards_back_without_new_writes(bench: Bench) -> None:
    players = await bench.add_players(5)
    async with bench.workers(2):
        jobs = [bench.job(player) for player in players]
        await bench.send(*jobs)
        await bench.answers(jobs)
        await bench.redis.flushall()
        await bench.verified()


async def test_sigterm_ends_a_worker_within_seconds_and_leaves_the_rest_to_others(bench: Bench) -> None:
    players = await bench.add_players(10)
    jobs = [bench.job(player) for player in players for _ in range(200)]
    for start in range(0, len(jobs), 20):
        await bench.send(*jobs[start : start + 20])
    async with bench.workers(1, worker_batch_jobs_max=50):
        pass
    async with bench.workers(1):
        await bench.until_applied(len(jobs))
        await bench.verified()
    assert await bench.dead() == {}


async def _is_empty(channel: Channel, queue: str) -> bool:
    return await channel.count_ready(queue) == 0


async def test_jobs_wait_while_postgres_is_away_and_none_is_parked(bench: Bench, database: Database) -> None:
    players = await bench.add_players(5)
    async with bench.workers(2):
        async with database.closed():
            jobs = [bench.job(player) for player in players for _ in range(20)]
            for start in range(0, 100, 10):
                await bench.send(*jobs[start : start + 10])
            channel = await bench.owner.open_channel()
            await eventually(partial(_is_empty, channel, queues.UPDATES), what="all jobs in the workers' hands")
            assert bench.results == {}
        assert {result.outcome for result in await bench.answers(jobs)} == {Outcome.APPLIED}
        assert (await bench.verified()).applied == 100
    assert await bench.dead() == {}


@pytest.fixture
def own_folder(servers_folder: Path) -> Path:
    """A folder for a server that this test may kill."""
    folder = Path(tempfile.mkdtemp(dir=servers_folder))
    folder.chmod(0o711)
    return folder


@pytest.mark.parametrize("trouble", ["frozen", "killed"])
async def test_updates_count_while_redis_is_away_and_it_is_right_afterwards(
    database: Database, vhost: Vhost, tmp_path: Path, own_folder: Path, trouble: str
) -> None:
    own = await start_redis(own_folder)
    try:
        async with Bench(database, own, vhost, tmp_path).opened() as bench, bench.workers(2):
            players = await bench.add_players(20)
            before = [bench.job(player) for player in players]
            await bench.send(*before)
            await bench.answers(before)
            if trouble == "frozen":
                os.kill(own.running.pid, signal.SIGSTOP)
            else:
                await own.running.kill()
            during = [bench.job(player) for player in players]
            for job in during:
                await bench.send(job)
            results = await bench.answers(during, 10)
            assert {result.score_after for result in results} == {100}
            if trouble == "frozen":
                os.kill(own.running.pid, signal.SIGCONT)
            else:
                own = await start_redis(own_folder, own.port)
            assert (await bench.verified()).applied == 40
    finally:
        await own.running.kill()
