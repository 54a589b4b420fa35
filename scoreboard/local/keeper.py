"""Keeps one program running: starts it, tells when it is ready, starts it again when it crashes.

The first crash is mended at once, later ones after a growing pause; a while of steady running forgets them. One that
was asked to end, and did so in order (exit 0), is started again at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from scoreboard.local.program import Program, Running, start
from scoreboard.local.state import Process
from scoreboard.local.trouble import Trouble

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 5.0
STEADY_S = 30.0  # longer than any pause, so that a program that crashes at start never counts as steady
STARTING_CRASHES_MAX = 4  # a program that ends so often before it was ever ready will not mend itself
LOG_BYTES_MAX = 20 * 1024 * 1024  # kept once more as NAME.log.1


def backoff_s(crashes: int) -> float:
    """Return the pause before the next start; the first crash in a row costs none."""
    return 0.0 if crashes <= 1 else min(BACKOFF_FIRST_S * 2 ** (crashes - 2), BACKOFF_MAX_S)


class Keeper:
    """One program and its present process. on_change: told of every new process; say: prints a line."""

    def __init__(
        self,
        program: Program,
        logs: Path,
        on_change: Callable[[Process], None],
        say: Callable[[str], None],
    ) -> None:
        self.program = program
        self._log = logs / f"{program.name}.log"
        self._on_change = on_change
        self._say = say
        self._running: Running | None = None  # written by `begin` and the keep task
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._was_ready = False

    async def begin(self) -> None:
        """Start it, wait until it is ready, and keep it from then on.

        Raises Trouble when it cannot start, ends again and again, or is not ready in time.
        """
        _rotate(self._log)
        await self._start()
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.program.name}")
        ready = asyncio.create_task(self._ready(), name=f"ready {self.program.name}")
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._task  # raises what ended it
            return
        await ready
        self._was_ready = True

    async def stop(self) -> None:
        """End the program for good."""
        self._stopping = True
        if self._running is not None:
            await self._running.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._running is not None:
            await self._running.kill()  # one that the task had started meanwhile

    async def _start(self) -> None:
        self._running = await start(self.program, self._log)
        program = self.program
        self._on_change(Process.of(program.name, self._running.pid, program.port, program.listed))

    async def _ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + self.program.ready_timeout_s
        while not await self.program.is_ready():
            if asyncio.get_running_loop().time() > deadline:
                assert self._running is not None
                raise self._running.trouble(
                    f"{self.program.name} is not ready after {self.program.ready_timeout_s:.0f} s"
                )
            await asyncio.sleep(0.1)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        crashes = 0
        while self._running is not None:
            started = loop.time()
            code = await self._running.ended()
            if self._stopping:
                return
            if code == 0 and self._was_ready:
                crashes = 0  # somebody asked it to end, as in a rolling restart
            elif loop.time() - started > STEADY_S:
                crashes = 1
            else:
                crashes += 1
            if not self._was_ready and crashes >= STARTING_CRASHES_MAX:
                raise self._running.trouble(f"{self.program.name} ended with code {code} while starting")
            pause_s = backoff_s(crashes)
            soon = f"in {pause_s:g} s" if pause_s else "now"
            self._say(f"{self.program.name} ended with code {code}; it is started again {soon}")
            await asyncio.sleep(pause_s)
            while not await self._is_started():
                crashes += 1
                await asyncio.sleep(backoff_s(crashes + 1))

    async def _is_started(self) -> bool:
        try:
            await self._start()
        except Trouble as trouble:  # no room, no folder or no process to be had: we try again
            self._say(str(trouble))
            return False
        return True


def _rotate(log: Path) -> None:
    try:
        if log.stat().st_size > LOG_BYTES_MAX:
            log.rename(log.with_name(log.name + ".1"))
    except FileNotFoundError:
        return
