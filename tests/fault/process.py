"""A process that a test may kill, freeze and start again: on the same port, with the same data."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import httpx
import psutil

from scoreboard.local.program import Running, base_environment, start
from scoreboard.local.servers import RABBITMQ_SCRIPT
from tests.fault.timeline import Timeline
from tests.servers import RabbitmqServer
from tests.waiting import SCALE, eventually

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0
CTL_TIMEOUT_S = 30.0


class Process:
    """One server or service, with the children that it has."""

    def __init__(self, running: Running, timeline: Timeline) -> None:
        self._running = running
        self._timeline = timeline
        self.name = running.program.name
        self._is_meant_to_run = True
        self._log_start = 0  # bytes

    @property
    def port(self) -> int:
        """The port that it listens on while it runs."""
        return self._running.program.port

    @property
    def pid(self) -> int:
        """Its pid, of the last start."""
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended; a frozen one runs."""
        return self._running.returncode is None

    @property
    def has_died(self) -> bool:
        """Whether it ended without a test that meant it to."""
        return self._is_meant_to_run and not self.is_running

    def logged(self, text: str) -> list[str]:
        """Return the lines with this text that it has logged since `forget_log`."""
        with self._running.log.open("rb") as log:
            log.seek(self._log_start)
            return [line for line in log.read().decode(errors="replace").splitlines() if text in line]

    def forget_log(self) -> None:
        """Leave out what it has logged until now."""
        self._log_start = self._running.log.stat().st_size

    @property
    def is_frozen(self) -> bool:
        """Whether a SIGSTOP holds it, of `freeze` or of a named point."""
        family = self._family()
        return bool(family) and family[0].status() == psutil.STATUS_STOPPED

    async def kill(self) -> None:
        """Kill -9 it and its children at once, as a power cut does."""
        self._timeline.fault(f"kill -9 {self.name}")
        self._is_meant_to_run = False
        # Postgres' children are no members of its process group.
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await self._running.ended()
        await asyncio.to_thread(psutil.wait_procs, family, END_TIMEOUT_S)

    async def ended(self) -> int:
        """Wait until it ends by itself, such as at a named point, and return its code."""
        self._is_meant_to_run = False
        code = await asyncio.wait_for(self._running.ended(), START_TIMEOUT_S * SCALE)
        self._timeline.note(f"{self.name} ended with {code}")
        return code

    async def stop(self) -> None:
        """Ask it to end, as a rolling restart does (SIGTERM), and wait for that."""
        self._timeline.fault(f"stop {self.name}")
        self._is_meant_to_run = False
        await self._running.stop()

    async def start(self, *, is_awaited: bool = True) -> None:
        """Start it again where it was, and wait until it is ready unless told otherwise."""
        assert not self.is_running, f"{self.name} runs"
        self._running = await start(self._running.program, self._running.log)
        self._is_meant_to_run = True
        if is_awaited:
            await self.until_ready()
        self._timeline.note(f"{self.name} is {'ready' if is_awaited else 'starting'}")

    async def until_ready(self) -> None:
        """Wait until it answers."""
        await self._running.until_ready(START_TIMEOUT_S * SCALE)

    async def is_ready(self) -> bool:
        """Whether it answers now."""
        return self.is_running and not self.is_frozen and await self._running.program.is_ready()

    def freeze(self) -> None:
        """SIGSTOP it and its children: its sockets stay open, and nothing answers."""
        self._timeline.fault(f"freeze {self.name}")
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT what is frozen."""
        self._timeline.note(f"thaw {self.name}")
        self._signal(signal.SIGCONT)

    async def heal(self) -> None:
        """Make it run and answer, whatever a test did to it."""
        if self.is_frozen:
            self.thaw()
        if not self.is_running:
            await self.start()
        await self.until_ready()

    async def end(self) -> None:
        """End it for good."""
        if self.is_running:
            await self.kill()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._running.pid)
            return [parent, *parent.children(recursive=True)]
        return []


class Rabbitmq(Process):
    """A RabbitMQ, with its management API and its commands."""

    def __init__(self, server: RabbitmqServer, timeline: Timeline) -> None:
        super().__init__(server.running, timeline)
        self.server = server

    async def until_ready(self) -> None:
        """Wait until it and its management API answer."""
        await super().until_ready()
        await eventually(self._api_answers, START_TIMEOUT_S, "the management API")

    async def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl …` on it and return what it printed."""
        process = await asyncio.create_subprocess_exec(
            RABBITMQ_SCRIPT.with_name("rabbitmqctl"),
            "--quiet",
            *arguments,
            env={**base_environment(), **self._running.program.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), CTL_TIMEOUT_S * SCALE)
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def end(self) -> None:
        """End it and its port mapper for good."""
        await super().end()
        await self.server.epmd.kill()

    async def _api_answers(self) -> bool:
        try:
            async with self.server.api() as api:
                return (await api.get("/overview")).is_success
        except httpx.TransportError:
            return False
