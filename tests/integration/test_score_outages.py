"""score_svc while Redis, RabbitMQ, Postgres or the workers are away: what it answers, and that a retry settles it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import grpc
import pytest

from board import keys, queues
from scoreboard.v1 import score_pb2 as pb
from tests.gate import Gate, gate_to
from tests.scoring import Player, Scoring, new_nonce, refused, scoring, update_id_of
from tests.servers import Database, RedisServer, Vhost
from tests.waiting import SCALE, eventually

ANSWER_S = 3.0 * SCALE  # the service's own timer says 2


@pytest.fixture
async def world(database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Scoring]:
    """A service without a worker; a test starts one when it wants one."""
    async with scoring(database, redis_view, vhost, tmp_path, workers=0) as made:
        yield made


def through(gate: Gate, url: str) -> str:
    """The URL with the gate's port in place of the server's."""
    parts = urlsplit(url)
    account, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{gate.port}"))


async def behind(world: Scoring, name: str, stack: Any, **settings: object) -> Gate:
    """Puts a gate between a new service and one of its servers; `world.stub` is then that service's."""
    variable = f"SCOREBOARD_{name}_URL"
    gate: Gate = await stack.enter_async_context(gate_to(urlsplit(world.environment[variable]).port or 0))
    world.environment = world.environment | {variable: through(gate, world.environment[variable])}
    world.stub = await stack.enter_async_context(world.service(**settings))
    return gate


@pytest.fixture
async def stack() -> AsyncIterator[Any]:
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as made:
        yield made


async def test_without_a_worker_an_update_is_pending_and_resolves(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    call = world.stub.UpdateScore(
        pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=nonce),
        metadata=player.signed("win-round", nonce),
        timeout=10,
    )
    started = time.monotonic()
    pending = await call
    assert 1.5 <= time.monotonic() - started <= ANSWER_S
    assert ("x-http-code", "202") in [tuple(pair) for pair in await call.initial_metadata()]
    update_id = str(update_id_of(player, nonce))
    assert pending == pb.UpdateScoreResponse(success=True, status=pb.PENDING, update_id=update_id)
    assert await world.look_up(player, update_id) == pending
    eve = await world.player()
    assert await world.refusal(world.look_up(eve, update_id)) == "NOT_FOUND"
    async with world.bench.workers(1):

        async def is_applied() -> bool:
            return (await world.look_up(player, update_id)).status == pb.APPLIED

        await eventually(is_applied, 20, "the update")
        assert (await world.update(player, nonce=nonce)).new_score == 50
    assert len(await world.rows(player)) == 1


async def test_the_caller_s_deadline_shortens_the_wait(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    answer = await world.stub.UpdateScore(
        pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=nonce),
        metadata=player.signed("win-round", nonce),
        timeout=0.7,
    )
    assert answer.status == pb.PENDING


async def test_a_batch_of_500_is_one_message(world: Scoring) -> None:
    client, player = await world.client(), await world.player()
    updates = [pb.UpdateScoreRequest(user_id=player.user_id, action_id="coin", nonce=new_nonce()) for _ in range(500)]
    results = await world.batch(client, *updates)
    assert {result.status for result in results} == {pb.PENDING}

    async def is_one() -> bool:
        return await world.queued_messages() == 1

    await eventually(is_one, 10, "the broker's count")


# Promise 5
async def test_a_broker_that_is_away_is_said_in_time_and_a_retry_settles_it(world: Scoring, stack: Any) -> None:
    player, nonce = await world.player(), new_nonce()
    gate = await behind(world, "RABBITMQ", stack)
    await gate.shut()
    started = time.monotonic()
    error = await refused(world.update(player, nonce=nonce))
    assert time.monotonic() - started <= ANSWER_S
    assert (error.reason, error.code) == ("BROKER_AWAY", grpc.StatusCode.UNAVAILABLE)
    assert error.retry_after_s is not None
    assert error.retry_after_s >= 1
    client = await world.client()
    item = pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=new_nonce())
    assert await world.refusal(world.batch(client, item)) == "BROKER_AWAY"
    assert await world.queued_messages() == 0
    await gate.open()
    async with world.bench.workers(1):
        await eventually(lambda: applies(world, player, nonce), 20, "the retry")
    assert len(await world.rows(player)) == 1


# Promise 6
async def test_unroutable_is_never_ok(world: Scoring) -> None:
    player = await world.player()
    channel = await world.bench.owner.open_channel()
    await channel.unbind_queue(queues.UPDATES, queues.EXCHANGE, queues.UPDATES)
    reasons = await asyncio.gather(*(world.refusal(world.update(player)) for _ in range(100)))
    assert set(reasons) == {"BROKER_AWAY"}
    await channel.bind_queue(queues.UPDATES, queues.EXCHANGE, queues.UPDATES)
    channel.close()
    async with world.bench.workers(1):
        assert (await world.update(player)).new_score == 50


async def test_without_redis_updates_count_once_all_the_same(world: Scoring, stack: Any) -> None:
    player, nonce = await world.player(), new_nonce()
    gate = await behind(world, "REDIS", stack, updates_per_minute=10)
    async with world.bench.workers(1):
        await world.update(player, nonce=nonce)
        await gate.shut()
        assert (await world.update(player, nonce=nonce)).new_score == 50
        assert await world.refusal(world.update(player, "coin", nonce)) == "NONCE_REUSED"
        other = new_nonce()
        answers = await asyncio.gather(*(world.update(player, nonce=other) for _ in range(20)))
        assert {answer.new_score for answer in answers} == {100}
        assert (await world.look_up(player, answers[0].update_id)).new_score == 100
        assert len(await world.rows(player)) == 2
        reasons = await asyncio.gather(*(world.update(player) for _ in range(20)), return_exceptions=True)
        taken = [answer for answer in reasons if not isinstance(answer, BaseException)]
        assert len(taken) == 9  # the tenth is `other`: this process counts what it took itself
        assert {getattr(e, "reason", "") for e in reasons if isinstance(e, BaseException)} == {"RATE_LIMITED"}
        await gate.open()
        await eventually(lambda: claims(world, player), 10, "claims again")


# Promise 25
@pytest.mark.parametrize("age_s", [0, 60])
async def test_a_nonce_outlives_redis(world: Scoring, age_s: float) -> None:
    player, nonce, twice = await world.player(), new_nonce(age_s), new_nonce(age_s)
    issued = (await world.issue(player)).nonce
    async with world.bench.workers(1):
        first = await world.update(player, nonce=nonce)
        await world.update(player, nonce=twice)
        by_server = await world.update(player, nonce=issued)
        await world.bench.redis.flushall()
        assert await world.update(player, nonce=nonce) == first
        assert await world.update(player, nonce=issued) == by_server
        await world.bench.redis.flushall()
        assert await world.refusal(world.update(player, "coin", twice)) == "NONCE_REUSED"
        if age_s == 0:  # a young nonce was claimed again, and the reply of the first action is kept beside that claim
            await eventually(lambda: is_settled(world, player, twice), 10, "the kept result")
        assert await world.refusal(world.update(player, "coin", twice)) == "NONCE_REUSED"
        assert len(await world.rows(player)) == 3
        assert (await world.bench.scores())[player.user_id] == 150


# Promise 27
async def test_a_cap_outlives_redis(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    async with world.bench.workers(1):
        await world.update(player, "daily-bonus")
        await world.bench.redis.flushall()
        assert await world.refusal(world.update(player, "daily-bonus", nonce)) == "CAP_REACHED"
        assert await world.refusal(world.update(player, "daily-bonus", nonce)) == "CAP_REACHED"
        await world.bench.redis.flushall()
        assert await world.refusal(world.update(player, "daily-bonus", nonce)) == "CAP_REACHED"
        assert (await world.bench.scores())[player.user_id] == 100
        rows = await world.rows(player)
        assert sorted(row["score_change"] for row in rows) == [0, 100]


async def test_without_postgres_updates_are_taken_and_old_nonces_are_not_judged(world: Scoring, stack: Any) -> None:
    player, nonce = await world.player(), new_nonce()
    gate = await behind(world, "POSTGRES", stack)
    assert await world.refusal(world.update(player, nonce=new_nonce(age_s=400))) == "NONCE_EXPIRED"
    await gate.shut()
    assert (await world.update(player, nonce=nonce)).status == pb.PENDING
    assert (await world.update(player, nonce=nonce)).status == pb.PENDING
    assert (await world.update(player, nonce=new_nonce(age_s=60))).status == pb.PENDING
    assert await world.refusal(world.update(player, nonce=new_nonce(age_s=400))) == "SERVICE_AWAY"
    assert (await world.look_up(player, str(update_id_of(player, nonce)))).status == pb.PENDING
    await gate.open()
    async with world.bench.workers(1):
        await eventually(lambda: applies(world, player, nonce), 20, "the retry")

        async def are_all_applied() -> bool:
            return len(await world.rows(player)) == 2

        await eventually(are_all_applied, 20, "both updates, once each")


async def test_a_service_that_dies_after_the_confirm_leaves_what_a_retry_resolves(world: Scoring, stack: Any) -> None:
    """Promise 4, once: the point kills it when the broker has spoken and nobody was answered."""
    from contextlib import AsyncExitStack

    player, nonce = await world.player(), new_nonce()
    await stack.enter_async_context(world.bench.workers(1))
    folder = world.bench.points
    async with AsyncExitStack() as dying:
        world.environment = world.environment | {"SCOREBOARD_TEST_POINTS": str(folder)}
        first = world.stub
        world.stub = await dying.enter_async_context(world.service())
        (folder / "score_svc.after_confirm").write_text("SIGKILL")
        error = await refused(world.update(player, nonce=nonce))
        assert error.code is grpc.StatusCode.UNAVAILABLE
    world.stub = first
    answer = await world.update(player, nonce=nonce)
    assert (answer.status, answer.new_score) == (pb.APPLIED, 50)
    assert len(await world.rows(player)) == 1


# Promise 7
async def test_a_full_queue_pushes_back_and_counts_what_it_took(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path
) -> None:
    async with scoring(database, redis_view, vhost, tmp_path, workers=0, score_answer_budget_s=1) as world:
        limit = {
            "pattern": f"^{queues.UPDATES}$",
            "definition": {"max-length-bytes": 100_000},
            "priority": 10,
            "apply-to": "queues",
        }
        async with vhost.server.api() as api:
            (await api.put(f"/policies/{vhost.name}/small", json=limit)).raise_for_status()
        client, player = await world.client(), await world.player()
        batches = [
            [pb.UpdateScoreRequest(user_id=player.user_id, action_id="coin", nonce=new_nonce()) for _ in range(100)]
            for _ in range(30)
        ]
        results = []
        for start in range(0, len(batches), 5):  # few at once: the limit is soft
            answers = await asyncio.gather(*(world.batch(client, *batch) for batch in batches[start : start + 5]))
            results += [result for answer in answers for result in answer]
        refused_ones = [result for result in results if result.status == pb.REFUSED]
        assert {result.reason for result in refused_ones} == {"QUEUE_FULL"}
        assert len(refused_ones) >= 1000
        error = await refused(world.update(player))
        assert (error.reason, error.code) == ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert error.retry_after_s is not None
        async with world.bench.workers(1):
            await world.bench.until_applied(3000 - len(refused_ones))
            assert await world.queued_messages() == 0


async def applies(world: Scoring, player: Player, nonce: str) -> bool:
    try:
        return (await world.update(player, nonce=nonce)).status == pb.APPLIED
    except Exception as error:
        if getattr(error, "reason", "") != "BROKER_AWAY":
            raise
        return False


async def is_settled(world: Scoring, player: Player, nonce: str) -> bool:
    return bool(await world.bench.redis.hexists(keys.claim(update_id_of(player, nonce)), "result"))


async def claims(world: Scoring, player: Player) -> bool:
    """Tells whether the service claims in Redis again."""
    nonce = new_nonce()
    try:
        await world.update(player, nonce=nonce)
    except Exception as error:
        if getattr(error, "reason", "") != "RATE_LIMITED":
            raise
    return bool(await world.bench.redis.exists(f"sb:claim:{update_id_of(player, nonce)}"))
