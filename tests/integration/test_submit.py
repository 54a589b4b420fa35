"""board/submit.py: a job's outcome comes in time, and is its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest

from board import queues, submit
from board.dead_letters import file_dead_letters
from board.job_pb2 import Job, Result, Results
from board.ledger import Kind, Outcome
from board.submit import Submitter
from board.update_id import derive_update_id
from mesh.postgres import create_pool
from mesh.rabbitmq import Connection, Consumer, Publisher
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.local.accounts import OWNER
from tests.servers import Database, Vhost
from tests.waiting import SCALE, eventually
from tests.workers import now_us

PATIENCE_S = 30 * SCALE


@dataclass(frozen=True)
class World:
    """A submitter, and the test in the worker's place."""

    pool: asyncpg.Pool  # the owner's
    submitter: Submitter
    queue: Consumer
    worker: Publisher

    async def publishes(self) -> str:
        """Waits for the next job and returns where its reply goes."""
        async with asyncio.timeout(PATIENCE_S):
            delivery = await self.queue.get()
        self.queue.ack(delivery)
        assert delivery.reply_to is not None
        return delivery.reply_to

    async def waits(self, count: int) -> bool:
        """Whether so many statements wait for a lock."""
        sql = """SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE NOT granted AND datname = current_database()"""
        return bool(await self.pool.fetchval(sql) == count)

    async def park(self, job: Job, reason: str) -> None:
        """Files the job as a dead letter."""
        letter = (UUID(bytes=job.update_id), job.SerializeToString(), reason, 4)
        await file_dead_letters(self.pool, [letter])


@pytest.fixture
async def world(database: Database, vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(submit, "LOOK_S", 0.2 * SCALE)
    owner = Connection(vhost.url(OWNER), "test owner", on_connect=partial(queues.declare, delays_s=(1,)))
    asking = Connection(vhost.url("admin_svc"), "test asks")
    async with (
        await create_pool(database.url(), name="test owner", size=2) as pool,
        await create_pool(database.url("admin_svc"), name="test asks", size=4, min_size=4) as reads,
    ):
        try:
            owner.start()
            await owner.wait_ready(PATIENCE_S)
            asking.start()
            made = World(pool, Submitter(asking, reads), Consumer(owner, queues.UPDATES, prefetch=10), Publisher(owner))
            await asking.wait_ready(PATIENCE_S)
            await owner.wait_ready(PATIENCE_S)
            yield made
        finally:
            await asking.close()
            await owner.close()


def a_job() -> Job:
    at_us = now_us()
    key = derive_update_id(at_us // 1000, reporter="", user_id="u_1", nonce=uuid4().hex)
    return Job(update_id=key.bytes, kind=Kind.BAN.word, user_id="u_1", accepted_at_us=at_us)


async def test_a_dead_letter_of_an_earlier_try_is_no_outcome(world: World) -> None:
    job = a_job()
    await world.park(job, "FAILED_XX002")
    with pytest.raises(Refused) as caught:
        await world.submitter.submit(job, within_s=0.5 * SCALE)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    await world.publishes()
    again = asyncio.create_task(world.submitter.submit(job, within_s=PATIENCE_S))
    await world.publishes()
    await world.park(job, "FAILED_XX001")
    with pytest.raises(Refused) as caught:
        await again
    assert caught.value.reason is Reason.INTERNAL


async def test_a_ledger_that_does_not_answer_holds_back_neither_the_reply_nor_the_end(world: World) -> None:
    job = a_job()
    async with world.pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK score_logs, dead_letters")
        began = time.monotonic()
        with pytest.raises(Refused) as caught:
            await world.submitter.submit(job, within_s=0.5 * SCALE)
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 2 * SCALE
        await world.publishes()
        submitted = asyncio.create_task(world.submitter.submit(job, within_s=PATIENCE_S))
        reply_to = await world.publishes()
        # Before it is published and after it, each time.
        await eventually(lambda: world.waits(4), what="the ledger being asked")
        result = Result(update_id=job.update_id, outcome=Outcome.APPLIED)
        world.worker.publish_nowait("", reply_to, Results(results=[result]).SerializeToString())
        assert await asyncio.wait_for(submitted, 2 * SCALE) == result
