"""Ends background tasks for certain, and keeps those that may be left behind."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

AGAIN_S = 0.2

T = TypeVar("T")


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels the tasks and waits for their ends; what they raise is dropped.

    More than once where it must be: a cancellation that comes in the same moment as an answer is lost in
    asyncio.wait_for (before Python 3.12), through which every statement of asyncpg and every command to Redis goes.
    """
    pending: Iterable[asyncio.Task[Any]] = tasks
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=AGAIN_S)
        for task in ended:
            if not task.cancelled():
                task.exception()  # else it is logged as one that nobody asked for


class LeftBehind:
    """Reads whose askers may leave: they run to their end, since a cancelled one could hang with a frozen server."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself keeps only weak references

    def begin(self, read: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """Begins a read; what it raises is dropped when nobody asks for it."""
        task = asyncio.create_task(read, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its asker may have left
