"""A command in a terminal of its own, as a person sees and types."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.meshes import TREE
from tests.waiting import eventually


class Terminal:
    """`scoreboard …` in a terminal of 100 by 40, and everything that it has shown."""

    def __init__(self, process: asyncio.subprocess.Process, controller: int) -> None:
        self.process = process
        self._controller = controller
        self._shown = b""

    @classmethod
    @asynccontextmanager
    async def running(cls, *arguments: str) -> AsyncIterator[Terminal]:
        """Start the command, which never reads from the terminal that the tests run in; it ends with the block."""
        controller, user = pty.openpty()
        fcntl.ioctl(user, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        os.set_blocking(controller, False)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scoreboard.cli",
            *arguments,
            stdin=user,
            stdout=user,
            stderr=user,
            cwd=TREE,
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"},
            start_new_session=True,
            # As a shell does it: what runs in the background, as tests may, ignores it, and so do its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(user)
        try:
            yield cls(process, controller)
        finally:
            with suppress(ProcessLookupError):  # it has ended, unless the test failed before
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            os.close(controller)

    def text(self) -> str:
        """Everything shown so far, without what moves the cursor and styles the letters."""
        try:
            while more := os.read(self._controller, 65536):
                self._shown += more
        except (BlockingIOError, OSError):
            pass  # nothing new, or the command has ended
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown.decode(errors="replace"))

    async def ended(self) -> int:
        """Wait for its end, reading what it still shows: a terminal that nobody reads would hold it back for ever."""
        await eventually(lambda: [self.text(), self.process.returncode][1] is not None, 30, "the command's end")
        assert self.process.returncode is not None
        return self.process.returncode

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._controller, line.encode() + b"\n")
