"""Jobs whose month has no partition in the ledger: not yet, or not any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from board import queues
from board.instant import to_us
from board.job_pb2 import Job
from board.ledger import PARKED, Outcome
from board.partitions import count_unplaced, ensure_partitions
from board.update_id import first_id
from tests.sizes import Record
from tests.waiting import eventually
from tests.workers import Bench

MAKE = "ensure_partitions(timestamptz)"


def _month(months_back: int) -> datetime:
    """Returns the beginning of this month (0), or of an earlier one."""
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(months_back):
        month = (month - timedelta(days=1)).replace(day=1)
    return month


def _partition(month: datetime) -> str:
    return f"score_logs_{month:%Y_%m}"


async def _place(bench: Bench, job: Job) -> str:
    """Returns the partition that holds a job's row; there is exactly one."""
    found = "SELECT tableoid::regclass::text FROM score_logs WHERE substring(uuid_send(id) for 16) = $1"
    (row,) = await bench.pool.fetch(found, job.update_id)
    return str(row[0])


async def _written(bench: Bench) -> list[list[Mapping[str, object]]]:
    """Returns all that an update changes."""
    tables = ("users", "score_logs", "board_entries", "action_usage")
    return [[dict(row) for row in await bench.pool.fetch(f"SELECT * FROM {table} t ORDER BY t")] for table in tables]


def _is_warned(log: Path) -> bool:
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"rows_unplaced"' in line]
    return any(line["level"] == "WARNING" and line["rows"] > 0 for line in lines)


@pytest.mark.promise(row=16)
async def test_a_row_of_a_month_without_a_partition_lands_and_a_warning_is_raised(
    bench: Bench, tmp_path: Path, record_property: Record
) -> None:
    (anna,) = await bench.add_players(1)
    month = _partition(_month(0))
    # What a clock in a month that nobody made partitions for meets, and an upkeep that cannot make them.
    await bench.pool.execute(f"REVOKE EXECUTE ON FUNCTION {MAKE} FROM worker; DROP TABLE {month}")
    await bench.pool.execute(f"DROP TABLE {month.replace('score_logs', 'board_entries')}")
    jobs = [bench.job(anna) for _ in range(20)]
    async with bench.workers(2):
        for _ in range(2):  # the key holds there too
            await bench.send(*jobs)
            results = await bench.answers(jobs)
        assert {result.outcome for result in results} == {Outcome.APPLIED}
        assert await _place(bench, jobs[0]) == "score_logs_other"
        await eventually(partial(_is_warned, tmp_path / "worker.log"), 70, "the warning")
        assert (await bench.verified()).applied == 20
        await bench.pool.execute(f"GRANT EXECUTE ON FUNCTION {MAKE} TO worker")

        async def are_placed() -> bool:
            return await count_unplaced(bench.pool) == 0

        await eventually(are_placed, 70, "the partition, and the rows in it")
        assert await _place(bench, jobs[0]) == month
        last = bench.job(anna)
        await bench.send(*jobs, last)
        await bench.answers([last])
        assert (await bench.verified()).applied == 21
    assert await bench.scores() == {anna: 21 * 50}
    assert await bench.dead() == {}
    record_property("updates", 21)
    record_property("faults", 1)


@pytest.mark.promise(row=16)
@pytest.mark.parametrize("months_back", [6, 1])
async def test_a_replay_after_its_partition_is_gone_goes_to_the_dead_letters_and_changes_nothing(
    bench: Bench, months_back: int, record_property: Record
) -> None:
    (anna,) = await bench.add_players(1)
    month, end = _month(months_back), _month(months_back - 1)
    bounds = f"FROM ('{first_id(month)}') TO ('{first_id(end)}')"
    await bench.pool.execute(
        f"CREATE TABLE IF NOT EXISTS {_partition(month)} PARTITION OF score_logs FOR VALUES {bounds}"
    )
    job, other = (bench.job(anna, at_us=to_us(month + timedelta(days=1))) for _ in range(2))
    async with bench.workers(1):
        await bench.send(job)
        await bench.answers([job])
        assert await _place(bench, job) == _partition(month)
    await bench.pool.execute(f"ALTER TABLE score_logs DETACH PARTITION {_partition(month)}")
    await bench.pool.execute(f"DROP TABLE {_partition(month)}")
    await ensure_partitions(bench.pool, datetime.now(UTC))  # as the upkeep does each minute
    before = await _written(bench)
    async with bench.workers(1):
        await bench.send(job, queue=queues.SUSPECTS)
        await bench.send(job, other)
        assert [result.outcome for result in await bench.answers([other])] == [PARKED]
        dead = dict.fromkeys([job.update_id, other.update_id], "TOO_OLD")
        assert await bench.until_dead(2) == dead
        await bench.send(job, queue=queues.SUSPECTS)  # an operator tries once more
        fresh = bench.job("nobody")
        await bench.send(fresh)
        await bench.answers([fresh])
    assert await bench.dead() == dead
    assert await _written(bench) == before
    record_property("updates", 2)
    record_property("faults", 1)
