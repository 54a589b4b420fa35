"""What people would take instead of ours, run beside it: bench/peers/."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.mesh import TREE

BROADCAST = TREE / "bench/peers/broadcast"
INSTALL_TIMEOUT_S = 60.0


class Missing(Exception):  # noqa: N818 -- the machine's doing, not an error of ours
    """A peer cannot run here; says why."""


@dataclass
class Broadcast:
    """A running plain Node `ws` broadcast loop."""

    pid: int
    port: int
    _boards: asyncio.StreamWriter

    async def replay(self, boards: Sequence[tuple[float, str]]) -> None:
        """Lets it broadcast these boards, as far apart as their times (seconds) are."""
        loop = asyncio.get_running_loop()
        began, first = loop.time(), boards[0][0]
        for at, text in boards:
            await asyncio.sleep(began + (at - first) - loop.time())
            self._boards.write(f"{text}\n".encode())


@asynccontextmanager
async def broadcast() -> AsyncIterator[Broadcast]:
    """Starts the loop, after installing what its lock file names. Raises Missing."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise Missing("node and npm are not installed")
    _install()
    process = await asyncio.create_subprocess_exec(
        *(node, "server.mjs"), cwd=BROADCAST, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = await process.stdout.readline()
        if not said:
            raise Missing("node ended at its start: what it said stands above")
        yield Broadcast(process.pid, int(said), process.stdin)
    finally:
        process.stdin.close()
        await process.wait()


def _install() -> None:
    """Puts the locked packages into node_modules, which git ignores."""
    if (BROADCAST / "node_modules/.package-lock.json").exists():
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=BROADCAST, capture_output=True, text=True, check=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.CalledProcessError as e:
        raise Missing(f"npm ci failed: {e.stderr[-500:]}") from e
    except subprocess.TimeoutExpired as e:
        raise Missing(f"npm ci took over {INSTALL_TIMEOUT_S:.0f} s") from e
