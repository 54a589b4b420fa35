"""mesh/tasks.py: a task ends though it loses a cancellation."""

from __future__ import annotations

import asyncio
import contextlib

from mesh import tasks


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost = 0

    async def work() -> None:
        nonlocal lost
        while lost < 2:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            lost += 1
        await asyncio.sleep(60)

    async def fail() -> None:
        raise OSError

    running, failed = asyncio.create_task(work()), asyncio.create_task(fail())
    await asyncio.sleep(0)
    await tasks.end(running, failed)
    assert (running.cancelled(), lost) == (True, 2)
    await tasks.end()
