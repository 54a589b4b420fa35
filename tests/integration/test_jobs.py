"""Single jobs, updates and acts, by two workers that all tests share: each test has players of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from board import queues
from board.job_pb2 import Job, Jobs
from board.ledger import Kind, Outcome
from tests.scoring import own_part
from tests.servers import PostgresServer, RabbitmqServer, RedisServer
from tests.waiting import eventually
from tests.workers import Bench, act, do, now_us, reversal, shown


@pytest.fixture(scope="module")
async def module_bench(
    postgres_server: PostgresServer,
    template_database: str,
    rabbitmq_server: RabbitmqServer,
    module_view: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("jobs")
    async with (
        own_part(postgres_server, template_database, rabbitmq_server) as (database, vhost),
        Bench(database, module_view, vhost, folder).opened() as opened,
        opened.workers(2),
    ):
        yield opened


@pytest.fixture
async def bench(module_bench: Bench) -> Bench:
    """The module's servers and workers, without the players of other tests."""
    await module_bench.begin()
    return module_bench


@pytest.mark.promise(row=27)
async def test_a_cooldown_outlives_redis_and_a_retry_gets_the_same_refusal(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    first, second = bench.job(anna, "daily-bonus"), bench.job(anna, "daily-bonus")
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


async def test_a_refusal_by_an_unknown_player_has_no_row(bench: Bench) -> None:
    job = bench.job("nobody")
    await bench.send(job)
    (result,) = await bench.answers([job])
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "UNKNOWN_USER")
    assert await bench.rows() == []
    (anna,) = await bench.add_players(1)
    await bench.send(
        Job(
            update_id=job.update_id,
            kind="update",
            user_id=anna,
            action_id="win-round",
            accepted_at_us=job.accepted_at_us,
        )
    )
    await bench.until_applied(1)  # by the retry, once there is such a player


async def test_an_envelope_of_jobs_without_players_or_body_is_no_trouble(bench: Bench) -> None:
    await bench.send_raw(queues.UPDATES, Jobs().SerializeToString())
    await bench.send_raw(queues.SUSPECTS, b"\xff")
    dead = await bench.until_dead(2)
    assert set(dead.values()) == {"UNDECODABLE"}


async def test_a_reversal_on_best_and_last_boards_shows_the_value_before_it_and_then_none(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    start = now_us()
    low, high = (
        bench.job(anna, "match-result", reporter="a", value=value, at_us=start + n)
        for n, value in enumerate((100, 300))
    )
    await bench.send(low, high)
    await bench.answers([low, high])
    assert (await shown(bench, "top-match"), await shown(bench, "last-match")) == ({anna: 300}, {anna: 300})
    await do(bench, reversal(high))
    assert (await shown(bench, "top-match"), await shown(bench, "last-match")) == ({anna: 100}, {anna: 100})
    await bench.verified()
    await do(bench, reversal(low))
    assert (await shown(bench, "top-match"), await shown(bench, "last-match")) == ({}, {})
    await bench.verified()
    # Nothing is left to show: neither the end of a ban nor a new name brings it back.
    await do(bench, act(Kind.BAN, anna), act(Kind.UNBAN, anna), act(Kind.RENAME, anna, name="Ann"))
    assert await shown(bench, "top-match") == {}
    await bench.verified()
    again = bench.job(anna, "match-result", reporter="a", value=50)
    await do(bench, again)
    assert (await shown(bench, "top-match"), await shown(bench, "last-match")) == ({anna: 50}, {anna: 50})
    await bench.verified()


async def test_what_never_counted_cannot_be_reversed_until_it_has(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    update = bench.job(anna)
    assert await do(bench, reversal(update)) == [(1, "NOT_FOUND")]
    assert await do(bench, update, reversal(update)) == [(0, ""), (0, "")]
    of_a_reversal = act(Kind.REVERSAL, anna, reverses=reversal(update).update_id)
    of_another = act(Kind.REVERSAL, ben, reverses=update.update_id)
    assert await do(bench, of_a_reversal, of_another) == [(1, "NOT_FOUND")] * 2
    await bench.verified()


async def test_a_reversed_update_still_uses_up_its_cooldown_and_cap(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    bonus = bench.job(anna, "daily-bonus")
    told = await do(bench, bonus, reversal(bonus), bench.job(anna, "daily-bonus"))
    assert told == [(0, ""), (0, ""), (1, "CAP_REACHED")]
    await bench.verified()


async def test_an_adjustment_counts_on_boards_that_sum_everything(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    adjustment = act(Kind.ADJUSTMENT, anna, value=-7)
    assert await do(bench, bench.job(anna), adjustment, adjustment) == [(0, "")] * 3
    assert await shown(bench) == await shown(bench, "daily") == {anna: 43}
    assert await shown(bench, "top-match") == {}
    nothing, too_much = act(Kind.ADJUSTMENT, anna, value=0), act(Kind.ADJUSTMENT, anna, value=2**53)
    assert await do(bench, nothing, too_much) == [(1, "INVALID_ARGUMENT")] * 2
    await bench.verified()


async def test_a_random_id_stays_with_the_erased_player_so_that_late_updates_meet_it(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    assert await do(bench, act(Kind.DELETE, anna), bench.job(anna)) == [(0, ""), (1, "UNKNOWN_USER")]
    assert [row["outcome"] for row in await bench.rows()] == [Outcome.APPLIED, Outcome.REFUSED]


async def test_an_act_on_nobody_is_refused_and_a_kind_of_a_newer_version_is_parked(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    assert await do(bench, act(Kind.BAN, "nobody")) == [(1, "UNKNOWN_USER")]
    newer = act(Kind.BAN, anna)
    newer.kind = "canonise"
    await bench.send(newer)
    assert set((await bench.until_dead(1)).values()) == {"UNKNOWN_KIND"}


async def test_a_replayed_ban_does_not_undo_what_came_after_it(bench: Bench) -> None:
    (anna,) = await bench.add_players(1)
    ban = act(Kind.BAN, anna)
    assert await do(bench, bench.job(anna), ban, act(Kind.UNBAN, anna)) == [(0, "")] * 3
    await bench.send(ban, queue=queues.SUSPECTS)
    assert await do(bench, bench.job(anna)) == [(0, "")]
    assert await shown(bench) == {anna: 100}
    await bench.verified()
