"""The ends of services (SIGTERM), and what their health says while a server that they need is away."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import grpc

from board import queues
from scoreboard.local import probe
from scoreboard.local.ports import Ports
from scoreboard.local.program import start
from scoreboard.v1 import score_pb2 as pb
from scoreboard.v1 import score_pb2_grpc
from tests import services
from tests.boards import make_world
from tests.gate import gate_to
from tests.scoring import scoring
from tests.servers import Database, RedisServer, Vhost
from tests.services import serving
from tests.waiting import SCALE, eventually
from tests.workers import Bench

LIVENESS = ""
SCORE = ("score_svc", "scoreboard.v1.ScoreService", "SCOREBOARD_SCORE_PORT")
BOARDS = ("leaderboard_svc", "scoreboard.v1.LeaderboardService", "SCOREBOARD_LEADERBOARD_PORT")
END_S = 30.0 * SCALE


async def test_score_svc_answers_calls_that_wait_and_those_that_come_while_it_drains(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path
) -> None:
    async with (
        scoring(database, redis_view, vhost, tmp_path, workers=0) as world,
        serving(*SCORE, world.environment | {"SCOREBOARD_DRAIN_S": "2"}, tmp_path) as (running, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub, player = score_pb2_grpc.ScoreServiceStub(channel), await world.player()
        waiting = [asyncio.create_task(world.update(player, stub=stub)) for _ in range(10)]

        async def is_queued() -> bool:
            return await world.queued_messages() > 0

        await eventually(is_queued, what="the queued updates")
        os.kill(running.pid, signal.SIGTERM)

        async def is_draining() -> bool:
            return not await probe.grpc_health(port, LIVENESS)

        await eventually(is_draining, what="the drain")
        waiting.append(asyncio.create_task(world.update(player, stub=stub)))
        answers = await asyncio.gather(*waiting)
        assert {answer.status for answer in answers} == {pb.PENDING}
        assert await asyncio.wait_for(running.ended(), END_S) == 0
        async with world.bench.workers(1):
            await world.bench.until_applied(len(answers))


async def test_a_worker_settles_all_that_it_has_in_hand(bench: Bench) -> None:
    (player,) = await bench.add_players(1)
    jobs = [bench.job(player) for _ in range(20)]
    async with bench.workers(1, worker_batch_jobs_max=1) as (worker,):
        async with bench.pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM users WHERE user_id = $1 FOR UPDATE", player)
            for job in jobs:
                await bench.send(job)
            await bench.until_waiting(1)
            await eventually(lambda: _is_all_taken(bench), what="that the worker has all of it")
            os.kill(worker.pid, signal.SIGTERM)
        assert await asyncio.wait_for(worker.ended(), END_S) == 0
    assert await _is_all_taken(bench)  # and none came back
    assert len(await bench.rows()) == len(jobs)


async def _is_all_taken(bench: Bench) -> bool:
    channel = await bench.owner.open_channel()
    try:
        return await channel.count_ready(queues.UPDATES) == 0
    finally:
        channel.close()


async def test_score_svc_lives_without_a_broker_and_is_not_ready(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path
) -> None:
    async with gate_to(vhost.server.port) as gate, scoring(database, redis_view, vhost, tmp_path, workers=0) as world:
        environment = world.environment | {"SCOREBOARD_RABBITMQ_URL": gate.url(vhost.url("score_svc"))}
        async with serving(*SCORE, environment, tmp_path) as (_, port):
            await gate.shut()
            await _is_live_alone(port, SCORE[1])
            await gate.open()
            await _is_ready(port, SCORE[1])


async def test_leaderboard_svc_lives_without_postgres_and_is_ready_on_it_alone(
    database: Database, redis_view: RedisServer, tmp_path: Path
) -> None:
    async with (
        make_world(database, redis_view),  # for its catalogue
        gate_to(database.server.port) as gate,
        gate_to(redis_view.port) as nowhere,
    ):
        await nowhere.shut()
        await gate.shut()
        ports = Ports()
        port = ports.take("leaderboard_svc")
        environment = {
            "SCOREBOARD_POSTGRES_URL": gate.url(database.url("leaderboard_svc")),
            "SCOREBOARD_REDIS_URL": nowhere.url(redis_view.url("leaderboard_svc")),
        }
        program = services.program(*BOARDS, port, environment)
        ports.release_all()
        running = await start(program, tmp_path / "leaderboard_svc.log")
        try:
            await _is_live_alone(port, BOARDS[1])
            await gate.open()
            await _is_ready(port, BOARDS[1])
        finally:
            await running.stop()
            await nowhere.open()


async def _is_live_alone(port: int, readiness: str) -> None:
    async def is_so() -> bool:
        return await probe.grpc_health(port, LIVENESS) and not await probe.grpc_health(port, readiness)

    await eventually(is_so, what="a service that lives and is not ready")


async def _is_ready(port: int, readiness: str) -> None:
    await eventually(lambda: probe.grpc_health(port, readiness), what="a service that is ready")
