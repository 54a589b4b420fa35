"""score_svc while Redis, RabbitMQ, Postgres or the workers are away: what it answers, and that a retry settles it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from board import keys, queues
from scoreboard.client import ScoreboardError
from scoreboard.local.program import Running
from scoreboard.v1 import score_pb2 as pb
from tests.gate import Gate, gate_to
from tests.scoring import CALL_TIMEOUT_S, Player, Scoring, new_nonce, own_part, refused, scoring, update_id_of
from tests.servers import PostgresServer, RabbitmqServer, RedisServer, Vhost
from tests.sizes import BUSY, Record
from tests.waiting import SCALE, eventually

ANSWER_S = (2.0 + BUSY) * SCALE  # 3 s where nothing else runs: the service's own timer says 2
OWN_DEADLINE_S = 0.7  # a caller's, shorter than the service's own


@dataclass
class Worker:
    """The module's only worker, which a gate may keep from the broker."""

    gate: Gate
    running: Running

    async def leave(self) -> None:
        """Lets the queue have no worker."""
        await self.gate.shut()

        async def is_away() -> bool:
            return not await self.running.program.is_ready()

        await eventually(is_away, what="a worker without a broker")

    async def come(self) -> None:
        """Lets the worker work on."""
        await self.gate.heal()
        await self.running.until_ready()


@dataclass
class Module:
    """What the tests share: a service on servers of the module's own, and the worker behind it."""

    scoring: Scoring
    vhost: Vhost
    worker: Worker


@pytest.fixture(scope="module")
async def module(
    postgres_server: PostgresServer,
    template_database: str,
    rabbitmq_server: RabbitmqServer,
    module_view: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Module]:
    folder = tmp_path_factory.mktemp("score_outages")
    async with (
        own_part(postgres_server, template_database, rabbitmq_server) as (database, vhost),
        gate_to(rabbitmq_server.port) as gate,
        scoring(database, module_view, vhost, folder, workers=0) as made,
        made.bench.workers(1, rabbitmq_url=gate.url(vhost.url("worker"))) as (worker,),
    ):
        yield Module(made, vhost, Worker(gate, worker))


@pytest.fixture
def world(module: Module) -> Scoring:
    """The module's service with its worker. A test has players of its own, and may put another service in `stub`."""
    return replace(module.scoring)


@pytest.fixture
async def worker(module: Module) -> AsyncIterator[Worker]:
    """The worker, away until the test lets it come."""
    await module.worker.leave()
    yield module.worker
    async with module.vhost.server.api() as api:
        (await api.delete(f"/queues/{module.vhost.name}/{queues.UPDATES}/contents")).raise_for_status()
    await module.worker.come()


async def behind(world: Scoring, name: str, stack: Any, **settings: object) -> Gate:
    """Puts a gate between a new service and one of its servers; `world.stub` is then that service's."""
    variable = f"SCOREBOARD_{name}_URL"
    gate: Gate = await stack.enter_async_context(gate_to(urlsplit(world.environment[variable]).port or 0))
    world.environment = world.environment | {variable: gate.url(world.environment[variable])}
    world.stub = await stack.enter_async_context(world.service(**settings))
    return gate


@pytest.fixture
async def stack() -> AsyncIterator[Any]:
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as made:
        yield made


async def test_without_a_worker_an_update_is_pending_and_resolves(world: Scoring, worker: Worker) -> None:
    player, nonce = await world.player(), new_nonce()
    call = world.stub.UpdateScore(
        pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=nonce),
        metadata=player.signed("win-round", nonce),
        timeout=CALL_TIMEOUT_S,
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
    await worker.come()

    async def is_applied() -> bool:
        return (await world.look_up(player, update_id)).status == pb.APPLIED

    await eventually(is_applied, 20, "the update")
    assert (await world.update(player, nonce=nonce)).new_score == 50
    assert len(await world.rows(player)) == 1


async def test_the_caller_s_deadline_shortens_the_wait(world: Scoring, worker: Worker) -> None:
    player, nonce = await world.player(), new_nonce()

    assert await told_in_time(world, player, nonce) == "PENDING"


async def told_in_time(world: Scoring, player: Player, nonce: str) -> str:
    """What an update is told whose caller waits for OWN_DEADLINE_S: its status, or the code of a refusal.

    The service leaves a tenth of a second for the way back. Where a busy machine takes longer the caller asks again.
    """

    async def told() -> str:
        call = world.stub.UpdateScore(
            pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=nonce),
            metadata=player.signed("win-round", nonce),
            timeout=OWN_DEADLINE_S,
        )
        try:
            return str(pb.UpdateStatus.Name((await call).status))
        except grpc.aio.AioRpcError as e:
            return "" if e.code() is grpc.StatusCode.DEADLINE_EXCEEDED else e.code().name

    return await eventually(told, what="an answer before the caller's deadline")


async def test_a_batch_of_500_is_one_message(world: Scoring, worker: Worker) -> None:
    client, player = await world.client(), await world.player()
    updates = [pb.UpdateScoreRequest(user_id=player.user_id, action_id="coin", nonce=new_nonce()) for _ in range(500)]
    results = await world.batch(client, *updates)
    assert {result.status for result in results} == {pb.PENDING}

    async def is_one() -> bool:
        return await world.queued_messages() == 1

    await eventually(is_one, 10, "the broker's count")


@pytest.mark.promise(row=5)
async def test_a_broker_that_is_away_is_said_in_time_and_a_retry_settles_it(
    world: Scoring, worker: Worker, stack: Any
) -> None:
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
    await worker.come()
    await eventually(lambda: applies(world, player, nonce), 20, "the retry")
    assert len(await world.rows(player)) == 1


@pytest.mark.promise(row=5)
async def test_an_update_without_a_confirm_at_the_caller_s_deadline_is_not_told_as_taken(
    world: Scoring, worker: Worker, stack: Any
) -> None:
    player, nonce = await world.player(), new_nonce()
    gate = await behind(world, "RABBITMQ", stack)
    gate.freeze()
    assert await told_in_time(world, player, nonce) == "UNAVAILABLE"
    await gate.heal()
    await worker.come()
    await eventually(lambda: applies(world, player, nonce), 20, "the retry")
    assert len(await world.rows(player)) == 1


async def test_a_nonce_that_waits_is_refused_to_another_action_by_its_claim(world: Scoring, worker: Worker) -> None:
    player, nonce = await world.player(), new_nonce()
    assert (await world.update(player, nonce=nonce)).status == pb.PENDING
    assert await world.refusal(world.update(player, "lose-round", nonce)) == "NONCE_REUSED"
    assert await world.queued_messages() == 1


@pytest.mark.promise(row=6)
async def test_unroutable_is_never_ok(world: Scoring, worker: Worker, record_property: Record) -> None:
    player, client = await world.player(), await world.client()
    nonces = [new_nonce() for _ in range(100)]
    channel = await world.bench.owner.open_channel()
    await channel.unbind_queue(queues.UPDATES, queues.EXCHANGE, queues.UPDATES)
    reasons = await asyncio.gather(*(world.refusal(world.update(player, nonce=nonce)) for nonce in nonces))
    assert reasons == ["BROKER_AWAY"] * 100
    items = [pb.UpdateScoreRequest(user_id=player.user_id, action_id="coin", nonce=nonce) for nonce in nonces]
    assert await world.refusal(world.batch(client, *items)) == "BROKER_AWAY"
    await channel.bind_queue(queues.UPDATES, queues.EXCHANGE, queues.UPDATES)
    channel.close()
    await worker.come()
    assert (await world.update(player)).new_score == 50, "none of them was on its way"
    answers = await asyncio.gather(*(world.update(player, nonce=nonce) for nonce in nonces))
    assert max(answer.new_score for answer in answers) == 101 * 50
    assert len(await world.rows(player)) == 101
    record_property("updates", 201)
    record_property("faults", 1)


async def test_without_redis_updates_count_once_all_the_same(world: Scoring, stack: Any) -> None:
    player, nonce = await world.player(), new_nonce()
    gate = await behind(world, "REDIS", stack, updates_per_minute=10)
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


@pytest.mark.promise(row=25)
@pytest.mark.parametrize("age_s", [0, 60])
async def test_a_nonce_outlives_redis(world: Scoring, age_s: float, record_property: Record) -> None:
    player, nonce, twice = await world.player(), new_nonce(age_s), new_nonce(age_s)
    issued = (await world.issue(player)).nonce
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
    record_property("updates", 3)
    record_property("faults", 2)


@pytest.mark.promise(row=25)
async def test_a_nonce_that_waits_outlives_redis_too(world: Scoring, worker: Worker, record_property: Record) -> None:
    """Nobody can know yet that it was used: both are taken, and one of them has an effect."""
    player, nonce = await world.player(), new_nonce()
    assert (await world.update(player, nonce=nonce)).status == pb.PENDING
    await world.bench.redis.flushall()
    assert (await world.update(player, nonce=nonce)).status == pb.PENDING
    await world.bench.redis.flushall()
    other = await world.update(player, "coin", nonce)
    assert other.status == pb.PENDING
    await worker.come()

    async def is_told() -> pb.UpdateScoreResponse | None:
        told = await world.look_up(player, other.update_id)
        return told if told.status != pb.PENDING else None

    told = await eventually(is_told, 20, "the outcome")
    assert told is not None
    assert (told.status, told.points) == (pb.APPLIED, 50)
    assert await world.refusal(world.update(player, "coin", nonce)) == "NONCE_REUSED"
    await world.bench.redis.flushall()
    assert (await world.update(player, nonce=nonce)).new_score == 50
    assert (await world.update(player)).new_score == 100
    assert sorted(row["score_change"] for row in await world.rows(player)) == [50, 50]
    record_property("updates", 2)
    record_property("faults", 3)


@pytest.mark.promise(row=27)
@pytest.mark.parametrize(("action", "reason"), [("daily-bonus", "CAP_REACHED"), ("spin", "COOLDOWN")])
async def test_a_cap_and_a_cooldown_outlive_redis(
    world: Scoring, action: str, reason: str, record_property: Record
) -> None:
    player, nonce, expired = await world.player(), new_nonce(), new_nonce(age_s=400)

    async def refusal(nonce: str) -> tuple[str, str, object]:
        error = await refused(world.update(player, action, nonce))
        return error.reason, error.message, error.code

    first = await world.update(player, action)
    await world.bench.redis.flushall()
    told = await refusal(nonce)
    assert told[0] == reason
    assert await refusal(nonce) == told
    await world.bench.redis.flushall()
    assert await refusal(nonce) == told
    # Refused minutes ago: the ledger still has it when neither the claim nor the nonce's life helps.
    job = world.bench.job(player.user_id, action)
    job.update_id = update_id_of(player, expired).bytes
    await world.bench.send(job)
    await world.bench.answers([job])
    assert await refusal(expired) == told
    assert (await world.bench.scores())[player.user_id] == first.new_score
    rows = await world.rows(player)
    assert sorted(row["score_change"] for row in rows) == [0, 0, first.points]
    record_property("updates", 3)
    record_property("faults", 2)


async def test_without_postgres_updates_are_taken_and_old_nonces_are_not_judged(
    world: Scoring, worker: Worker, stack: Any
) -> None:
    player, nonce = await world.player(), new_nonce()
    gate = await behind(world, "POSTGRES", stack)
    assert await world.refusal(world.update(player, nonce=new_nonce(age_s=400))) == "NONCE_EXPIRED"
    await gate.shut()
    old = new_nonce(age_s=60)
    both = await asyncio.gather(world.update(player, nonce=nonce), world.update(player, nonce=old))
    assert [answer.status for answer in both] == [pb.PENDING] * 2
    assert (await world.update(player, nonce=nonce)).status == pb.PENDING
    assert await world.refusal(world.update(player, nonce=new_nonce(age_s=400))) == "SERVICE_AWAY"
    assert (await world.look_up(player, str(update_id_of(player, nonce)))).status == pb.PENDING
    await gate.open()
    await worker.come()
    await eventually(lambda: applies(world, player, nonce), 20, "the retry")

    async def are_all_applied() -> bool:
        return len(await world.rows(player)) == 2

    await eventually(are_all_applied, 20, "both updates, once each")


async def test_a_service_that_dies_after_the_confirm_leaves_what_a_retry_resolves(world: Scoring, stack: Any) -> None:
    """Promise 4, once: the point kills it when the broker has spoken and nobody was answered."""
    from contextlib import AsyncExitStack

    player, nonce = await world.player(), new_nonce()
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


@pytest.fixture
async def small_queue(module: Module) -> AsyncIterator[None]:
    """The queue of updates takes about 1,000 of them."""
    limit = {
        "pattern": f"^{queues.UPDATES}$",
        "definition": {"max-length-bytes": 100_000},
        "priority": 10,
        "apply-to": "queues",
    }
    async with module.vhost.server.api() as api:
        path = f"/policies/{module.vhost.name}/small"
        (await api.put(path, json=limit)).raise_for_status()
        yield
        (await api.delete(path)).raise_for_status()


@pytest.mark.promise(row=7)
async def test_a_full_queue_pushes_back_and_counts_what_it_took(
    world: Scoring, worker: Worker, small_queue: None, record_property: Record
) -> None:
    client, player = await world.client(), await world.player()
    nonces = [new_nonce() for _ in range(3000)]
    pending: dict[str, str] = {}  # by nonce, the update's id
    refusals: dict[str, ScoreboardError] = {}

    async def send(nonce: str) -> None:
        try:
            pending[nonce] = (await world.update(player, nonce=nonce)).update_id
        except ScoreboardError as error:
            refusals[nonce] = error

    for start in range(0, 3000, 500):  # not all at once: the limit is soft
        await asyncio.gather(*(send(nonce) for nonce in nonces[start : start + 500]))
    pushed_back = list(refusals)
    assert len(pushed_back) >= 1000
    for error in refusals.values():
        assert (error.reason, error.code) == ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert error.retry_after_s is not None
        assert error.retry_after_s >= 1
    items = [
        pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=new_nonce()) for _ in range(100)
    ]
    results = await world.batch(client, *items)
    assert {(result.status, result.reason) for result in results} == {(pb.REFUSED, "QUEUE_FULL")}
    await worker.come()
    await eventually(lambda: has_rows(world, player, 3000 - len(pushed_back)), 60, "what was taken")
    assert await world.queued_messages() == 0
    rows = await world.rows(player)
    assert {str(row["id"]) for row in rows} == set(pending.values())
    # Whoever waits as he was told is taken, with the nonce that was pushed back.
    answers = await asyncio.gather(*(world.update(player, nonce=nonce) for nonce in pushed_back[:100]))
    assert {answer.status for answer in answers} <= {pb.APPLIED, pb.PENDING}
    await eventually(lambda: has_rows(world, player, 3000 - len(pushed_back) + 100), 60, "what was sent again")
    await world.bench.verified()
    record_property("updates", 3100)
    record_property("faults", 1)


async def has_rows(world: Scoring, player: Player, count: int) -> bool:
    return len(await world.rows(player)) == count


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
