"""Workers on real servers, with the score_svc of a test's own: it sends jobs, and hears their results."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import redis.asyncio

from board import keys, queues
from board.catalogue_store import apply_catalogue
from board.entry import BoardKey
from board.job_pb2 import Job, Jobs, Result, Results
from board.ledger import Kind
from board.update_id import derive_update_id, reversal_id
from board.verify import Verified, verify
from mesh.rabbitmq import DIRECT_REPLY_TO, Channel, Connection, Publisher
from scoreboard.local.program import Running
from tests.servers import Database, RedisServer, Vhost
from tests.services import serving
from tests.waiting import eventually

CATALOGUE = """
[actions.win-round]
points = 50
[actions.lose-round]
points = -20
[actions.daily-bonus]
points = 100
cap_count = 1
cap_window_s = 86400
[actions.coin]
points = 1
cap_count = 100
cap_window_s = 86400
[actions.spin]
points = 5
cooldown_s = 3600
[actions.poison]
points = 1
[actions.match-result]
reporter = "server"
value_min = 10
value_max = 500
[boards.all]
[boards.daily]
period = "day"
[boards.weekly]
period = "week"
[boards.top-match]
operator = "best"
actions = ["match-result"]
[boards.last-match]
operator = "last"
period = "day"
actions = ["match-result"]
"""
DELAYS_S = (0.2, 1, 2)
OPERATOR = "u_operator"


class Bench:
    """One test's database, Redis and vhost, with everything that the workers under test meet."""

    def __init__(self, database: Database, view: RedisServer, vhost: Vhost, folder: Path) -> None:
        self._database = database
        self._view = view
        self._vhost = vhost
        self._folder = folder
        self._jobs = 0
        self.before = 0  # the last inner number of the players of tests that came before
        self.results: dict[bytes, list[Result]] = {}  # by update_id, written by the replies alone
        self.points = folder / "points"
        self.points.mkdir()
        self.pool: asyncpg.Pool
        self.redis: redis.asyncio.Redis
        self.owner: Connection  # of the broker
        self.sender: Publisher

    @asynccontextmanager
    async def opened(self, delays_s: Sequence[float] = DELAYS_S) -> AsyncIterator[Bench]:
        """Opens the connections, declares the queues and applies the catalogue."""

        async def declare(channel: Channel) -> None:
            await queues.declare(channel, delays_s=delays_s)

        self._delays_s = delays_s
        self.pool = await asyncpg.create_pool(self._database.url(), min_size=0, max_size=4)
        self.redis = redis.asyncio.Redis.from_url(self._view.url())
        self.owner = Connection(self._vhost.url(), "test owner", on_connect=declare)
        self.owner.start()
        await self.owner.wait_ready(30)
        asking = Connection(self._vhost.url("score_svc"), "test asks")
        self.sender = Publisher(asking, self._on_reply)
        asking.start()
        await asking.wait_ready(30)
        async with self.pool.acquire() as conn:
            await apply_catalogue(conn, CATALOGUE)
        try:
            yield self
        finally:
            await asking.close()
            await self.owner.close()
            await self.redis.aclose()
            await self.pool.close()

    @asynccontextmanager
    async def workers(self, count: int = 1, **settings: object) -> AsyncIterator[list[Running]]:
        """Runs ready workers until the end of the block."""
        environment = {
            "SCOREBOARD_POSTGRES_URL": self._database.url("worker"),
            "SCOREBOARD_REDIS_URL": self._view.url("worker"),
            "SCOREBOARD_RABBITMQ_URL": self._vhost.url("worker"),
            "SCOREBOARD_WORKER_DELAYS_S": json.dumps(self._delays_s),
            "SCOREBOARD_TEST_POINTS": str(self.points),
        } | {f"SCOREBOARD_{name.upper()}": str(value) for name, value in settings.items()}
        async with AsyncExitStack() as stack:
            started = await asyncio.gather(
                *(
                    stack.enter_async_context(
                        serving("worker", "worker", "SCOREBOARD_WORKER_PORT", environment, self._folder)
                    )
                    for _ in range(count)
                )
            )
            yield [running for running, _ in started]

    async def begin(self) -> None:
        """Leaves the players of earlier tests behind: what is told from now on is of those who come."""
        self.before = await self.pool.fetchval("SELECT coalesce(max(id), 0) FROM users")
        await self.pool.execute("DELETE FROM dead_letters")
        self.results.clear()

    async def add_players(self, count: int) -> list[str]:
        """Makes players and returns their ids."""
        ids = [f"player-{self.before + n}" for n in range(count)]
        await self.pool.execute(
            "INSERT INTO users (user_id, username) SELECT u, 'Name of ' || u FROM unnest($1::text[]) u", ids
        )
        return ids

    def job(self, user_id: str, action_id: str = "win-round", *, at_us: int | None = None, **fields: object) -> Job:
        """Returns a job of a nonce of its own."""
        self._jobs += 1
        accepted_at_us = at_us if at_us is not None else now_us()
        key = derive_update_id(accepted_at_us // 1000, reporter="", user_id=user_id, nonce=f"n{self._jobs}")
        job = Job(
            update_id=key.bytes, kind="update", user_id=user_id, action_id=action_id, accepted_at_us=accepted_at_us
        )
        job.MergeFrom(Job(**fields))  # type: ignore[arg-type]
        return job

    async def send(self, *jobs: Job, queue: str = queues.UPDATES) -> None:
        """Publishes one envelope as score_svc does; to the suspects as an operator's replay does."""
        body = Jobs(jobs=jobs).SerializeToString()
        if queue == queues.UPDATES:
            await self.sender.publish(queues.EXCHANGE, queue, body, reply_to=DIRECT_REPLY_TO)
        else:
            await self.send_raw(queue, body)

    async def send_raw(self, queue: str, *bodies: bytes) -> None:
        """Publishes any bytes to a queue, a message each."""
        await publish_raw(self.owner, queue, *bodies)

    async def answers(self, jobs: Iterable[Job], timeout_s: float = 30) -> list[Result]:
        """Waits until each of the jobs is answered and returns the first answer of each, in order."""
        wanted = [job.update_id for job in jobs]

        def are_answered() -> bool:
            return all(key in self.results for key in wanted)

        await eventually(are_answered, timeout_s, "an answer to every job")
        return [self.results[key][0] for key in wanted]

    async def until_applied(self, count: int) -> None:
        """Waits until the ledger has so many rows of this test's players."""

        async def is_applied() -> bool:
            found = await self.pool.fetchval("SELECT count(*) FROM score_logs WHERE user_ref > $1", self.before)
            return bool(found == count)

        await eventually(is_applied, 60, f"{count} ledger rows")

    async def until_dead(self, count: int, timeout_s: float = 60) -> dict[bytes, str]:
        """Waits until so many dead letters are filed and returns their reasons, by update_id."""

        async def are_filed() -> bool:
            return len(await self.dead()) >= count

        await eventually(are_filed, timeout_s, f"{count} dead letters")
        return await self.dead()

    async def until_waiting(self, count: int) -> None:
        """Waits until so many of the workers' transactions wait for a lock."""
        # pg_stat_activity hides from us what others wait for; pg_locks does not.
        sql = """SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE NOT granted AND datname = current_database()"""

        async def are_waiting() -> bool:
            return bool(await self.pool.fetchval(sql) == count)

        await eventually(are_waiting, 30, f"{count} transactions that wait")

    async def rows(self) -> list[asyncpg.Record]:
        """Returns the ledger, of this test's players."""
        return await self.pool.fetch(
            "SELECT * FROM score_logs WHERE user_ref > $1 ORDER BY accepted_at, id", self.before
        )

    async def dead(self) -> dict[bytes, str]:
        """Returns the reasons of the dead letters, by update_id."""
        rows = await self.pool.fetch("SELECT update_id, reason FROM dead_letters")
        return {row["update_id"].bytes: row["reason"] for row in rows}

    async def scores(self) -> dict[str, int]:
        """Returns users.score of this test's players, by user_id."""
        rows = await self.pool.fetch("SELECT user_id, score FROM users WHERE id > $1", self.before)
        return {row["user_id"]: row["score"] for row in rows}

    async def verified(self) -> Verified:
        """Returns what comparing ledger, entries, scores and Redis found, and asserts that nothing differs."""
        found = await verify(self.pool, self.redis)
        assert found.differences == ()
        return found

    def _on_reply(self, body: bytes) -> None:
        for result in Results.FromString(body).results:
            self.results.setdefault(result.update_id, []).append(result)


async def publish_raw(connection: Connection, queue: str, *bodies: bytes) -> None:
    """Publishes any bytes to a queue, a message each."""
    publisher = Publisher(connection)
    await publisher.wait_ready(20)
    await asyncio.gather(*(publisher.publish("", queue, body) for body in bodies))


def now_us() -> int:
    """Returns unix microseconds."""
    return time.time_ns() // 1000


def act(kind: Kind, user_id: str, **fields: object) -> Job:
    """Returns an operator's job."""
    at_us = now_us()
    key = derive_update_id(at_us // 1000, reporter=OPERATOR, user_id=user_id, nonce=str(uuid4()))
    job = Job(
        update_id=key.bytes, kind=kind.word, user_id=user_id, reporter=OPERATOR, accepted_at_us=at_us, text="a reason"
    )
    job.MergeFrom(Job(**fields))  # type: ignore[arg-type]
    return job


def reversal(update: Job) -> Job:
    """Returns the job that takes an update back."""
    key = reversal_id(UUID(bytes=update.update_id))
    return act(Kind.REVERSAL, update.user_id, reverses=update.update_id, update_id=key.bytes)


async def do(bench: Bench, *jobs: Job) -> list[tuple[int, str]]:
    """Sends jobs one after the other and returns their outcomes and reasons."""
    told = []
    for job in jobs:
        bench.results.pop(job.update_id, None)
        await bench.send(job)
        result = (await bench.answers([job]))[0]
        told.append((result.outcome, result.reason))
    return told


async def shown(bench: Bench, board: str = "all") -> dict[str, int]:
    """Returns the scores that Redis shows of the test's players on a board's present period, by user_id."""
    row: Any = await bench.pool.fetchrow(
        "SELECT board_id, period_start FROM board_periods JOIN boards USING (board_id)"
        " WHERE name = $1 AND state = 0 ORDER BY period_start DESC LIMIT 1",
        board,
    )
    places: Any = await bench.redis.zrange(keys.places(BoardKey(*row)), 0, -1, withscores=True)
    users: Any = await bench.redis.hgetall(keys.USERS)
    own = [(member[13:], -int(score)) for member, score in places if int(member[13:], 16) > bench.before]
    return {users[user].decode().split("\x1f")[1]: score for user, score in own}
