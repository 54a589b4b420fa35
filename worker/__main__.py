"""Starts a worker: `python -m worker`. Any number may run; none of them is special."""

import mesh.startup  # noqa: F401 -- first: what fails from here on is told as a JSON line

# isort: split
import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis

from board import queues
from board.catalogue_cache import CatalogueCache
from board.seal import SealKey
from mesh import redis
from mesh.postgres import create_pool
from mesh.rabbitmq import Channel, Connection, Consumer, Publisher
from mesh.run import run
from mesh.server import serve
from mesh.tasks import end
from worker import figures
from worker.apply import Applier
from worker.consumer import Feeder
from worker.deadletter import Filer
from worker.mover import Mover
from worker.pause import keep_pausing
from worker.rebuilds import keep_rebuilding
from worker.reconcile import Reconciler
from worker.sealer import keep_sealing
from worker.settings import WorkerSettings
from worker.settle import Settler
from worker.upkeep import keep_tidy
from worker.views import Views

BATCHES_AT_ONCE = 2  # updates and suspects
POOL_SIZE = 12  # two rebuilds with their locks, filer, catalogue, upkeep, two for seals and two that look on at once
DEAD_PREFETCH = 20
PATIENCE_S = 2.0  # with Redis, of what no job waits for: a rebuild that gives up begins anew

Work = Coroutine[None, None, None]


@dataclass(frozen=True, slots=True)
class Servers:
    """What a worker has open. batches: for jobs alone. patient_view: Redis, for what no job waits for."""

    pool: asyncpg.Pool
    batches: asyncpg.Pool
    view: Redis
    patient_view: Redis
    catalogues: CatalogueCache
    publishing: Connection
    consuming: Connection


async def open_servers(settings: WorkerSettings, stack: AsyncExitStack) -> Servers:
    """Opens them all, and leaves their closing to `stack`. One that is away is no error."""
    pool = await create_pool(settings.postgres_url, name="worker", size=POOL_SIZE)
    stack.push_async_callback(pool.close)
    batches = await create_pool(
        settings.postgres_url, name="worker", size=BATCHES_AT_ONCE, leaves_no_trace=True, shown_as="batches"
    )
    stack.push_async_callback(batches.close)
    view = redis.connect(settings.redis_url)
    stack.push_async_callback(view.aclose)
    patient_view = redis.connect(settings.redis_url, timeout_s=PATIENCE_S, shown_as="patient")
    stack.push_async_callback(patient_view.aclose)
    catalogues = CatalogueCache(pool, pause_s=0.0)  # asked for jobs alone, and score_svc lets few through that miss
    await catalogues.start()
    stack.push_async_callback(catalogues.close)

    async def declare(channel: Channel) -> None:
        await queues.declare(channel, delays_s=settings.worker_delays_s)

    # Apart: a broker with an alarm stops reading from whoever publishes, and acks must still reach it.
    publishing = Connection(settings.rabbitmq_url, "worker publishes")
    stack.push_async_callback(publishing.close)
    consuming = Connection(settings.rabbitmq_url, "worker consumes", on_connect=declare)
    stack.push_async_callback(consuming.close)
    return Servers(pool, batches, view, patient_view, catalogues, publishing, consuming)


class Worker:
    """The parts of a worker, and what runs beside what."""

    def __init__(self, settings: WorkerSettings, servers: Servers, seal_key: SealKey | None) -> None:
        self._settings = settings
        self._servers = servers
        self._seal_key = seal_key
        applier = Applier(servers.batches, servers.catalogues)
        publisher = Publisher(servers.publishing)
        self._views = Views(
            servers.pool, servers.view, servers.patient_view, servers.catalogues, applier.forget_periods
        )
        mover = Mover(publisher, settings.worker_delays_s)
        self._settler = Settler(applier, self._views, publisher, mover)
        self._stopping = asyncio.Event()
        self._feeder = Feeder(self._settler, mover, self._stopping)
        self._updates = Consumer(servers.consuming, queues.UPDATES, prefetch=settings.worker_prefetch)
        self._suspects = Consumer(servers.consuming, queues.SUSPECTS, prefetch=1)
        self._dead = Consumer(servers.consuming, queues.DEAD, prefetch=DEAD_PREFETCH)
        self._knows_pause = asyncio.Event()
        figures.PAUSED.read(lambda: self._updates.is_paused)

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT; then finishes the batch in hand and acks it. Raises what one of its tasks did.

        One task that fails takes the process down: its supervisor starts a whole one instead of a half one.
        """
        for consumer in (self._updates, self._suspects):
            consumer.pause()  # until keep_pausing knows better
        self._servers.consuming.start()
        self._servers.publishing.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(work, name=name) for name, work in self._helpers().items()]
                feeds = [tasks.create_task(work, name=name) for name, work in self._feeds().items()]

                async def drain() -> None:
                    self._stopping.set()
                    await _end(feeds, self._settings.stop_grace_s)

                await serve(
                    self._settings,
                    self._settings.worker_port,
                    [],
                    ready=self._is_ready,
                    readiness_names=("worker",),
                    on_drain=drain,
                )
                await end(*helpers, *feeds)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    def _feeds(self) -> dict[str, Work]:
        jobs_max, deliveries_max = self._settings.worker_batch_jobs_max, self._settings.worker_deliveries_max
        return {
            "updates": self._feeder.feed_updates(self._updates, jobs_max=jobs_max),
            "suspects": self._feeder.feed_suspects(self._suspects, deliveries_max=deliveries_max),
        }

    def _helpers(self) -> dict[str, Work]:
        pool, patient_view = self._servers.pool, self._servers.patient_view
        return {
            "views": self._views.keep(),
            "upkeep": keep_tidy(pool),
            "reconciliation": Reconciler(pool, patient_view, self._settings.worker_reconcile_s).keep(),
            "pause": keep_pausing(pool, (self._updates, self._suspects), self._knows_pause),
            "rebuilds": keep_rebuilding(pool, patient_view),
            "dead letters": Filer(pool).run(self._dead),
            "seals": keep_sealing(pool, self._seal_key, self._settings.audit_seals_file, self._settings.worker_seal_s),
        }

    def _is_ready(self) -> bool:
        is_broker_here = self._servers.consuming.is_ready and self._servers.publishing.is_ready
        knows_all = self._views.is_settled and self._knows_pause.is_set()
        return is_broker_here and knows_all and not self._settler.is_database_away


async def main(settings: WorkerSettings) -> None:
    """Runs a worker until it is told to end. Raises OSError and ValueError for a key that cannot be read."""
    seal_key = SealKey.load(settings.audit_key_file) if settings.audit_key_file is not None else None
    async with AsyncExitStack() as stack:
        await Worker(settings, await open_servers(settings, stack), seal_key).run()


async def _end(feeds: Sequence[asyncio.Task[None]], grace_s: float) -> None:
    """Waits for the batches in hand; what cannot end, since a server is away, is dropped and delivered again."""
    _, late = await asyncio.wait(feeds, timeout=grace_s)
    for task in late:
        task.cancel()


if __name__ == "__main__":
    run("worker", WorkerSettings, main)
