"""A worker, as a process, on real servers: each job counts once, is shown and answered, or parked with a reason."""

import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from board import queues
from board.instant import to_us
from board.job_pb2 import Job, Jobs
from board.ledger import Outcome
from mesh.rabbitmq import Channel
from tests.servers import Database, RedisServer, Vhost, start_redis
from tests.waiting import eventually
from tests.workers import Bench, now_us
from worker.decide import PARKED


@pytest.fixture
async def bench(database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(database, redis_view, vhost, tmp_path).opened() as opened:
        yield opened


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


async def test_500_jobs_of_one_player_count_exactly_and_a_cap_takes_the_first_100(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    start = now_us()
    jobs = [bench.job(anna, "coin" if n % 2 else "win-round", at_us=start + n // 5) for n in range(500)]
    async with bench.workers(1):
        await bench.send(*random.Random(7).sample(jobs, 500))
        await bench.answers(jobs)
        await bench.verified()
    coins = sorted((job.accepted_at_us, job.update_id) for job in jobs if job.action_id == "coin")
    counted = {row["id"].bytes for row in await bench.rows() if row["action_id"] == "coin" and row["outcome"] == 0}
    assert counted == {update_id for _, update_id in coins[:100]}
    assert await bench.scores() == {anna: 250 * 50 + 100}


async def test_the_same_job_counts_once_by_two_workers_after_a_restart_and_from_the_dead_letters(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    # Before and after a month's end: partitions of the ledger, and periods of the boards.
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    times = [month - timedelta(microseconds=1), month, datetime.now(UTC)]
    jobs = [bench.job(anna, at_us=to_us(at)) for at in times]
    async with bench.workers(2):
        for _ in range(10):
            await bench.send(*jobs)
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
    for job in jobs:
        answers = bench.results[job.update_id]
        assert len(answers) >= 2
        assert all(answer == answers[0] for answer in answers)


async def _poison(bench: Bench) -> None:
    """Makes Postgres refuse the ledger rows of one action, as a fault would that nobody foresaw."""
    await bench.pool.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON score_logs FOR EACH ROW
        WHEN (NEW.action_id = 'poison') EXECUTE FUNCTION refuse()
        """
    )


async def test_poison_goes_to_the_dead_letters_alone_each_with_its_reason(bench: Bench) -> None:
    players = await bench.add_players(20)
    await _poison(bench)
    jobs = [bench.job(players[n % 20], "poison" if n % 100 == 50 else "win-round") for n in range(495)]
    poison = [job for job in jobs if job.action_id == "poison"]
    bad = {
        **{job.update_id: "FAILED_P0001" for job in poison},
        (odd := bench.job(players[0], kind="conquer")).update_id: "UNKNOWN_KIND",
        (old := bench.job(players[0], at_us=1_600_000_000_000_000)).update_id: "TOO_OLD",
        (long := bench.job("x" * 51)).update_id: "MALFORMED",
    }
    async with bench.workers(2):
        await bench.send(*jobs, odd, old, long)
        await bench.send_raw(queues.UPDATES, b"\xff not an envelope")
        results = await bench.answers([*jobs, odd, old, long])
        assert Counter(result.outcome for result in results) == {Outcome.APPLIED: 490, PARKED: 8}
        dead = await bench.until_dead(9)
        assert {key: reason for key, reason in dead.items() if key in bad} == bad
        assert sorted(dead.values())[-2:] == ["UNDECODABLE", "UNKNOWN_KIND"]
        raw = await bench.pool.fetchval("SELECT job FROM dead_letters WHERE reason = 'UNDECODABLE'")
        assert raw == b"\xff not an envelope"
        attempts = await bench.pool.fetch("SELECT DISTINCT attempts FROM dead_letters WHERE reason = 'FAILED_P0001'")
        assert [row["attempts"] for row in attempts] == [4]
        assert (await bench.verified()).applied == 490


async def test_a_replayed_dead_letter_counts_and_leaves_the_table(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    await _poison(bench)
    job = bench.job(anna, "poison")
    async with bench.workers(1):
        await bench.send(job)
        await bench.until_dead(1)
        await bench.pool.execute("DROP TRIGGER refuse ON score_logs")
        for _ in range(2):
            await bench.send(job, queue=queues.SUSPECTS)
        await bench.until_applied(1)
        assert await bench.dead() == {}
        assert (await bench.verified()).applied == 1


async def test_no_delayed_job_comes_early_or_behind_a_longer_delay(bench: Bench) -> None:
    players = await bench.add_players(10)
    attempts = {0.2: 0, 1.0: 1, 2.0: 2}
    await bench.pool.execute(
        """
        CREATE TABLE failing (until timestamptz); INSERT INTO failing VALUES ('infinity');
        GRANT SELECT ON failing TO worker;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF now() < (SELECT until FROM failing) THEN RAISE 'not yet'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON score_logs FOR EACH ROW
        WHEN (NEW.action_id = 'poison') EXECUTE FUNCTION refuse()
        """
    )
    jobs = {delay: [bench.job(player, "poison", attempt=attempts[delay]) for player in players] for delay in attempts}
    mixed = [job for group in zip(*jobs.values(), strict=True) for job in group]
    async with bench.workers(2):
        sent_us = now_us()
        await bench.send(*mixed)
        channel = await bench.owner.open_channel()

        async def is_delayed() -> bool:
            held = [await channel.count_ready(queues.delay(delay)) for delay in (1, 2)]
            return sum(held) >= 2 * len(players)

        await eventually(is_delayed, what="every job in its delay queue")
        delayed_us = now_us()
        await bench.pool.execute("UPDATE failing SET until = '-infinity'")
        await bench.answers(mixed)
        applied = {row["id"].bytes: to_us(row["applied_at"]) for row in await bench.rows()}
        await bench.verified()
    for delay in (1.0, 2.0):
        waits = [applied[job.update_id] for job in jobs[delay]]
        assert min(waits) - sent_us >= delay * 1e6
        # Behind nobody: those of 1 s do not wait for those of 2 s.
        assert max(waits) - delayed_us < (delay + 0.9) * 1e6
    assert max(applied[job.update_id] for job in jobs[1.0]) < min(applied[job.update_id] for job in jobs[2.0])


async def test_a_cooldown_outlives_redis_and_a_retry_gets_the_same_refusal(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    first, second = bench.job(anna, "daily-bonus"), bench.job(anna, "daily-bonus")
    async with bench.workers(2):
        await bench.send(first)
        await bench.answers([first])
        await bench.redis.flushall()
        await bench.send(second)
        (refusal,) = await bench.answers([second])
        assert (refusal.outcome, refusal.reason, refusal.score_after) == (Outcome.REFUSED, "CAP_REACHED", 100)
        await bench.send(second)
        await eventually(partial(_is_answered_twice, bench, second), what="the second answer")
        assert bench.results[second.update_id][1] == refusal
        await bench.verified()


def _is_answered_twice(bench: Bench, job: Job) -> bool:
    return len(bench.results[job.update_id]) == 2


async def test_a_worker_killed_with_a_batch_in_hand_harms_no_job(bench: Bench) -> None:
    players = await bench.add_players(10)
    for number, point in enumerate(
        ["after_locks", "before_commit", "after_commit", "after_redis", "after_reply", "before_ack"], start=1
    ):
        jobs = [bench.job(player) for player in players for _ in range(5)]
        async with bench.workers(1) as (worker,):
            (bench.points / f"worker.{point}").write_text("SIGKILL")
            await bench.send(*jobs)
            await worker.ended()
        async with bench.workers(1):
            await bench.until_applied(50 * number)
            await bench.verified()
    assert await bench.dead() == {}
    assert await bench.scores() == dict.fromkeys(players, 50 * 5 * 6)


async def test_a_job_that_kills_workers_is_parked_alone(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    deadly = bench.job(ben)
    jobs = [bench.job(anna) for _ in range(99)]
    # The job on which workers die is one that waits for a lock: there each is killed.
    async with bench.pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM users WHERE user_id = $1 FOR UPDATE", ben)
        await bench.send(*jobs[:50], deadly, *jobs[50:])
        for _ in range(2):  # with the whole envelope in hand, then with the suspect alone
            async with bench.workers(1, worker_deliveries_max=1) as (worker,):
                await bench.until_waiting(1)
                await worker.kill()
            await bench.until_waiting(0)  # Postgres has noticed the death, and freed the other players
    async with bench.workers(1, worker_deliveries_max=1):
        assert await bench.until_dead(1) == {deadly.update_id: "DELIVERED_TOO_OFTEN"}
        await bench.until_applied(99)
        await bench.verified()


async def test_a_redis_that_is_emptied_gets_its_boards_back_without_new_writes(bench: Bench) -> None:
    players = await bench.add_players(5)
    async with bench.workers(2):
        jobs = [bench.job(player) for player in players]
        await bench.send(*jobs)
        await bench.answers(jobs)
        await bench.redis.flushall()
        await bench.verified()


async def test_a_refusal_by_an_unknown_player_has_no_row(bench: Bench) -> None:
    async with bench.workers(1):
        job = bench.job("nobody")
        await bench.send(job)
        (result,) = await bench.answers([job])
        assert (result.outcome, result.reason) == (Outcome.REFUSED, "UNKNOWN_USER")
        assert await bench.rows() == []
        await bench.add_players(1)
        await bench.send(
            Job(
                update_id=job.update_id,
                kind="update",
                user_id="player-0",
                action_id="win-round",
                accepted_at_us=job.accepted_at_us,
            )
        )
        await bench.until_applied(1)  # by the retry, once there is such a player


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


async def test_an_envelope_of_jobs_without_players_or_body_is_no_trouble(bench: Bench) -> None:
    async with bench.workers(1):
        await bench.send_raw(queues.UPDATES, Jobs().SerializeToString())
        await bench.send_raw(queues.SUSPECTS, b"\xff")
        dead = await bench.until_dead(2)
        assert set(dead.values()) == {"UNDECODABLE"}


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


async def test_workers_do_not_deadlock_over_the_same_players(bench: Bench) -> None:
    players = await bench.add_players(40)
    chance = random.Random(17)
    jobs = [bench.job(chance.choice(players)) for _ in range(2_000)]
    # Half of them twice, in other company: as after a retry while the first copy still waits.
    sent = [*jobs, *chance.sample(jobs, 1_000)]
    chance.shuffle(sent)
    async with bench.workers(3, worker_batch_jobs_max=60):
        for start in range(0, len(sent), 25):
            await bench.send(*sent[start : start + 25])
        await bench.answers(jobs, 60)
        assert (await bench.verified()).applied == 2_000
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await bench.pool.fetchval(deadlocks) == 0
