"""The supervisor's keeper: what ends is started again, after a pause only where it crashes again and again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scoreboard.local.keeper import BACKOFF_FIRST_S, Keeper
from scoreboard.local.program import Program
from scoreboard.local.state import Process
from tests.waiting import eventually

# Ends in order when it is asked to, as our services do; says that it is ready by making the file of its pid.
PROGRAM = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
(pathlib.Path(sys.argv[1]) / str(os.getpid())).touch()
while True:
    signal.pause()
"""


class Kept:
    """A program that a keeper keeps."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.pids: list[int] = []
        self.said: list[str] = []
        self.said_at: list[float] = []
        self._folder = folder
        argv = (sys.executable, "-c", PROGRAM, str(folder))
        self.keeper = Keeper(Program("kept", argv, 0, self.is_ready), logs, self._note, self._hear)

    async def is_ready(self) -> bool:
        """Whether the newest process has got so far."""
        return bool(self.pids) and (self._folder / str(self.pids[-1])).exists()

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal and wait for its successor."""
        before = len(self.pids)
        os.kill(self.pids[-1], number)

        async def is_replaced() -> bool:
            return len(self.pids) > before and await self.is_ready()

        await eventually(is_replaced, what="another process")

    def _note(self, process: Process) -> None:
        self.pids.append(process.pid)

    def _hear(self, line: str) -> None:
        self.said.append(line)
        self.said_at.append(time.monotonic())


@asynccontextmanager
async def keeping(folder: Path, logs: Path | None = None) -> AsyncIterator[Kept]:
    kept = Kept(folder, logs or folder)
    await kept.keeper.begin()
    try:
        yield kept
    finally:
        await kept.keeper.stop()


async def test_one_that_ended_in_order_is_started_again_at_once_however_often(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        for _ in range(3):
            await kept.end(signal.SIGTERM)
        assert kept.said == 3 * ["kept ended with code 0; it is started again now"]


async def test_one_that_crashes_again_and_again_waits(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        for _ in range(3):
            await kept.end(signal.SIGKILL)
        whens = [line.rpartition("again ")[2] for line in kept.said]
        assert whens == ["now", "in 0.5 s", "in 1 s"]


async def test_one_that_cannot_be_started_again_is_tried_after_pauses_until_it_can(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    async with keeping(tmp_path, logs) as kept:
        (logs / "kept.log").unlink()
        logs.rmdir()
        os.kill(kept.pids[-1], signal.SIGTERM)
        await eventually(lambda: len(kept.said) >= 3, what="two tries to start it")
        ended, *troubles = kept.said
        assert ended == "kept ended with code 0; it is started again now"
        assert len(set(troubles)) == 1
        assert kept.said_at[-1] - kept.said_at[1] >= BACKOFF_FIRST_S, "a pause between the tries"
        logs.mkdir()
        await eventually(lambda: len(kept.pids) > 1, what="another process")
        await eventually(kept.is_ready, what="it is ready")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_stopped_one_stays_ended(tmp_path: Path, number: signal.Signals) -> None:
    async with keeping(tmp_path) as kept:
        await kept.end(number)
        said = list(kept.said)
    assert kept.said == said
    with pytest.raises(ProcessLookupError):
        os.kill(kept.pids[-1], 0)
