"""Starts a worker: `python -m worker`. Any number may run; none of them is special."""

import asyncio
from collections.abc import Sequence

from board import queues
from board.catalogue_cache import CatalogueCache
from mesh import redis
from mesh.postgres import create_pool
from mesh.rabbitmq import Channel, Connection, Consumer, Publisher
from mesh.run import run
from mesh.server import serve
from mesh.tasks import end
from worker.apply import Applier
from worker.consumer import Feeder
from worker.deadletter import Filer
from worker.mover import Mover
from worker.pause import keep_pausing
from worker.rebuilds import keep_rebuilding
from worker.reconcile import Reconciler
from worker.settings import WorkerSettings
from worker.settle import Settler
from worker.upkeep import keep_tidy
from worker.views import Views

BATCHES_AT_ONCE = 2  # updates and suspects
POOL_SIZE = 10  # two rebuilds with their locks, filer, catalogue, upkeep and two that look on at once
DEAD_PREFETCH = 20
PATIENCE_S = 2.0  # with Redis, of what no job waits for: a rebuild that gives up begins anew


async def main(settings: WorkerSettings) -> None:
    """Runs until SIGTERM or SIGINT; then finishes the batch in hand, acks it and ends."""
    pool = await create_pool(settings.postgres_url, name="worker", size=POOL_SIZE)
    batches = await create_pool(settings.postgres_url, name="worker", size=BATCHES_AT_ONCE, leaves_no_trace=True)
    view = redis.connect(settings.redis_url)
    patient_view = redis.connect(settings.redis_url, timeout_s=PATIENCE_S)
    catalogues = CatalogueCache(pool, pause_s=0.0)  # asked for jobs alone, and score_svc lets few through that miss
    await catalogues.start()

    async def declare(channel: Channel) -> None:
        await queues.declare(channel, delays_s=settings.worker_delays_s)

    # Apart: a broker with an alarm stops reading from whoever publishes, and acks must still reach it.
    consuming = Connection(settings.rabbitmq_url, "worker consumes", on_connect=declare)
    publishing = Connection(settings.rabbitmq_url, "worker publishes")
    applier = Applier(batches, catalogues)
    views = Views(pool, view, patient_view, catalogues, applier.forget_periods)
    publisher = Publisher(publishing)
    mover = Mover(publisher, settings.worker_delays_s)
    settler = Settler(applier, views, publisher, mover)
    stopping = asyncio.Event()
    feeder = Feeder(settler, mover, stopping)
    updates = Consumer(consuming, queues.UPDATES, prefetch=settings.worker_prefetch)
    suspects = Consumer(consuming, queues.SUSPECTS, prefetch=1)
    dead = Consumer(consuming, queues.DEAD, prefetch=DEAD_PREFETCH)
    for consumer in (updates, suspects):
        consumer.pause()  # until keep_pausing knows better
    consuming.start()
    publishing.start()

    knows_pause = asyncio.Event()

    def is_ready() -> bool:
        is_broker_here = consuming.is_ready and publishing.is_ready
        return is_broker_here and views.is_settled and knows_pause.is_set() and not settler.is_database_away

    try:
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(views.keep(), name="views"),
                tasks.create_task(keep_tidy(pool), name="upkeep"),
                tasks.create_task(
                    Reconciler(pool, patient_view, settings.worker_reconcile_s).keep(), name="reconciliation"
                ),
                tasks.create_task(keep_pausing(pool, (updates, suspects), knows_pause), name="pause"),
                tasks.create_task(keep_rebuilding(pool, patient_view), name="rebuilds"),
                tasks.create_task(Filer(pool).run(dead), name="dead letters"),
            ]
            feeds = [
                tasks.create_task(
                    feeder.feed_updates(updates, jobs_max=settings.worker_batch_jobs_max),
                    name="updates",
                ),
                tasks.create_task(
                    feeder.feed_suspects(suspects, deliveries_max=settings.worker_deliveries_max), name="suspects"
                ),
            ]

            async def drain() -> None:
                stopping.set()
                await _end(feeds, settings.stop_grace_s)

            await serve(
                settings,
                settings.worker_port,
                [],
                ready=is_ready,
                readiness_names=("worker",),
                on_drain=drain,
            )
            await end(*helpers, *feeds)
    except ExceptionGroup as group:
        # One task that fails takes the process down: its supervisor starts a whole one instead of a half one.
        raise group.exceptions[0] from group
    finally:
        await consuming.close()
        await publishing.close()
        await catalogues.close()
        await patient_view.aclose()
        await view.aclose()
        await batches.close()
        await pool.close()


async def _end(feeds: Sequence[asyncio.Task[None]], grace_s: float) -> None:
    """Waits for the batches in hand; what cannot end, since a server is away, is dropped and delivered again."""
    _, late = await asyncio.wait(feeds, timeout=grace_s)
    for task in late:
        task.cancel()


if __name__ == "__main__":
    run("worker", WorkerSettings, main)
