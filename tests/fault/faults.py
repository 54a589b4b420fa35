"""Faults that are more than a signal to a process (tests/fault/process.py) or a broken link (tests/gate.py)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fault.world import VHOST, World
from tests.waiting import eventually

ALARMS = {  # name: (what raises it, what ends it)
    "memory": (("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")),
    "disk": (("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB")),
}
LIMIT_POLICY = "fault-limit"


async def flush_redis(world: World) -> None:
    """Empty Redis (FLUSHALL)."""
    world.timeline.fault("FLUSHALL")
    await world.view.flushall()


def save_redis(world: World) -> Path:
    """Copy Redis's data as a backup would, while it runs; for `restore_redis`."""
    saved = world.folder / "redis-saved"
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(_redis_data(world), saved)
    world.timeline.note("Redis copied")
    return saved


async def restore_redis(world: World, saved: Path) -> None:
    """Kill Redis, put an old copy of its data in place, and start it: it goes back in time."""
    await world.processes["redis"].kill()
    shutil.rmtree(_redis_data(world))
    shutil.copytree(saved, _redis_data(world))
    await world.processes["redis"].start()


async def save_postgres(world: World) -> Path:
    """Stop Postgres, copy its data, and start it again; for `restore_postgres`."""
    saved = world.folder / "postgres-saved"
    shutil.rmtree(saved, ignore_errors=True)
    await world.processes["postgres"].stop()
    await _copy(_postgres_data(world), saved)
    await world.processes["postgres"].start()
    world.timeline.note("Postgres copied")
    return saved


async def restore_postgres(world: World, saved: Path) -> None:
    """Kill Postgres, put an old copy of its data in place, and start it: it goes back in time, on its timeline."""
    await world.processes["postgres"].kill()
    shutil.rmtree(_postgres_data(world))
    await _copy(saved, _postgres_data(world))
    await world.processes["postgres"].start()


@asynccontextmanager
async def alarm(world: World, kind: str) -> AsyncIterator[None]:
    """RabbitMQ has an alarm, "memory" or "disk", until the end of the block."""
    raising, ending = ALARMS[kind]
    world.timeline.fault(f"{kind} alarm")
    try:
        await world.rabbitmq.ctl(*raising)
        await eventually(lambda: _has_alarm(world), 30, f"the {kind} alarm")
        world.timeline.note(f"{kind} alarm is on")
        yield
    finally:
        await world.rabbitmq.ctl(*ending)
        world.timeline.note(f"{kind} alarm is off")


@asynccontextmanager
async def limited_queue(world: World, queue: str, max_bytes: int) -> AsyncIterator[None]:
    """The queue takes no more than about so many bytes until the end of the block."""
    world.timeline.fault(f"{queue} limited to {max_bytes} bytes")
    # A policy of its own: the tighter of a policy's limit and the queue's own holds. Only one policy holds for a
    # queue, so that it repeats the delivery limit.
    policy = {
        "pattern": f"^{queue}$",
        "apply-to": "queues",
        "priority": 1,
        "definition": {"max-length-bytes": max_bytes, "delivery-limit": 100},
    }
    async with world.rabbitmq.server.api() as api:
        address = f"/policies/{VHOST}/{LIMIT_POLICY}"
        (await api.put(address, json=policy)).raise_for_status()
        try:
            yield
        finally:
            (await api.delete(address)).raise_for_status()


def arm(world: World, point: str, signal_name: str = "SIGKILL") -> Path:
    """Let the next process that comes to this point send itself the signal. Return the file that vanishes then."""
    world.timeline.fault(f"{signal_name} at {point}")
    armed = world.points / point
    making = world.folder / "point"  # renamed: whoever reads it reads all of it
    making.write_text(signal_name)
    return making.rename(armed)


async def _has_alarm(world: World) -> bool:
    async with world.rabbitmq.server.api() as api:
        return (await api.get("/health/checks/alarms")).status_code == 503


def _redis_data(world: World) -> Path:
    return world.folder / "redis" / "appendonlydir"


def _postgres_data(world: World) -> Path:
    return world.folder / "postgres"


async def _copy(source: Path, target: Path) -> None:
    # With its owner: Postgres runs as another account where the tests run as root.
    process = await asyncio.create_subprocess_exec("cp", "-a", str(source), str(target))
    assert await process.wait() == 0
