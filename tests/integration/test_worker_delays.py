"""A failed job waits as long as its queue says: no shorter, and behind nobody who waits longer."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from board import queues
from board.job_pb2 import Jobs
from tests.servers import Database, RedisServer, Vhost
from tests.sizes import BUSY, Record, sized
from tests.waiting import SCALE
from tests.workers import DELAYS_S, Bench

CLOCK_S = 0.002  # the log shows whole milliseconds
SLACK_S = 0.4 * BUSY * SCALE  # what a busy broker may be late by; less than what lies between two delays


@dataclass(frozen=True)
class Wait:
    """One wait of a job. since: not before this it began; until: it was tried again; unix seconds."""

    delay_s: float
    since: float
    begun: float  # not after this it began
    until: float


def _failures(log: Path) -> list[tuple[bytes, float]]:
    """Returns the failed tries in the order of the one worker, by update_id, in unix seconds."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"job_failed"' in line]
    return [
        (bytes.fromhex(line["update_id"]), datetime.fromisoformat(line["@timestamp"]).timestamp()) for line in lines
    ]


def _waits(failures: Sequence[tuple[bytes, float]], first_attempts: dict[bytes, int]) -> list[Wait]:
    # One worker, one suspect at a time: a job is in its delay queue, confirmed, before the next one is tried.
    tries = defaultdict(list)
    for place, (update_id, at) in enumerate(failures):
        begun = failures[place + 1][1] if place + 1 < len(failures) else at
        tries[update_id].append((at, begun))
    return [
        Wait(delay_s, since, begun, again)
        for update_id, mine in tries.items()
        for delay_s, (since, begun), (again, _) in zip(
            sized(DELAYS_S, (1, 5, 30))[first_attempts[update_id] :], mine[:-1], mine[1:], strict=True
        )
    ]


@pytest.mark.promise(row=22)
async def test_no_delayed_job_comes_early_or_behind_a_longer_delay(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path, record_property: Record
) -> None:
    delays_s = sized(DELAYS_S, (1, 5, 30))
    count = sized(90, 1_000)
    async with Bench(database, redis_view, vhost, tmp_path).opened(delays_s) as bench:
        players = await bench.add_players(10)
        await bench.pool.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON score_logs FOR EACH ROW EXECUTE FUNCTION refuse()
            """
        )
        # Those that failed before wait long at once, ahead of those that have the short waits before them.
        jobs = [bench.job(players[n % 10], attempt=n % len(delays_s)) for n in range(count)]
        random.shuffle(jobs)
        async with bench.workers(1):
            await bench.send_raw(queues.SUSPECTS, *(Jobs(jobs=[job]).SerializeToString() for job in jobs))
            dead = await bench.until_dead(count, 60 + 5 * sum(delays_s))
        assert dead == {job.update_id: "FAILED_P0001" for job in jobs}
    waits = _waits(_failures(tmp_path / "worker.log"), {job.update_id: job.attempt for job in jobs})
    assert len(waits) == sum(len(delays_s) - job.attempt for job in jobs)
    assert {wait.delay_s for wait in waits} == set(delays_s)
    early = [wait for wait in waits if wait.until - wait.since < wait.delay_s - CLOCK_S]
    assert early == []
    behind = [
        (short, long)
        for short in waits
        for long in waits
        if short.delay_s < long.delay_s
        and short.begun + short.delay_s + SLACK_S < long.since + long.delay_s
        and long.until < short.until
    ]
    assert behind == []
    record_property("updates", count)
