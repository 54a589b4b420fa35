"""A program of the mesh: what to run, as whom, when it is ready, and how it ends.

Holds always: a started program dies with the process that started it (PR_SET_PDEATHSIG, set by
setpriv), stands in a session of its own, so that a Ctrl-C reaches the supervisor alone, and its pid
is the server's own, for nothing stands between.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scoreboard.local.trouble import Trouble

READY_POLL_S = 0.05  # short beside the second or more that a server needs to start
LOG_TAIL_LINES = 8  # what a person reads of a server that would not start
# Variables of the caller that a child needs; everything else is named by the program itself.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True)
class Account:
    """The unprivileged account that a program runs as when we are root.

    keeps_override: it keeps CAP_DAC_OVERRIDE, the way to files below a folder such as /root that lets
    no other account pass.
    """

    uid: int
    gid: int
    keeps_override: bool = False


@dataclass(frozen=True)
class Program:
    """One server or service, ready to be started.

    port: the port that people ask about. stop_signal: asks it to end; after stop_grace_s it is killed.
    death_signal: what the kernel sends it when its parent dies. is_ready: never raises for a server that
    is not there yet. listed: shown by `scoreboard status`. passwords: more of its environment, asked for at each start.
    drain: awaited before the stop signal.
    """

    name: str
    argv: tuple[str, ...]
    port: int
    is_ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    folder: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_grace_s: float = 10.0
    ready_timeout_s: float = 60.0
    listed: bool = True
    passwords: Callable[[], Mapping[str, str]] = dict
    drain: Callable[[], Awaitable[None]] | None = None

    def command(self) -> list[str]:
        """Return the whole command line, with the step down to its account in front."""
        signal_name = self.death_signal.name.removeprefix("SIG")
        return ["setpriv", "--pdeathsig", signal_name, *_step_down(self.account), "--", *self.argv]


def _step_down(account: Account | None) -> list[str]:
    if account is None:
        return []
    flags = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
    if account.keeps_override:
        flags += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    return flags


def base_environment() -> dict[str, str]:
    """Return the few variables of ours that every child inherits: none of SCOREBOARD_*, no secret."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def run_to_end(argv: list[str], account: Account | None, cure: str) -> None:
    """Run a short helper such as initdb to its end.

    Raises Trouble with its last lines and the cure.
    """
    command = ["setpriv", "--pdeathsig", "KILL", *_step_down(account), "--", *argv]
    done = subprocess.run(command, capture_output=True, text=True, env=base_environment(), cwd="/", check=False)
    if done.returncode != 0:
        last = " ".join((done.stderr or done.stdout).split("\n")[-LOG_TAIL_LINES:]).strip()
        raise Trouble(f"{Path(argv[0]).name} ended with code {done.returncode}: {last}", cure)


class Running:
    """A started program. Made by `start`; ended by `stop` or by itself."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, log: Path) -> None:
        self.program = program
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """The server's own pid."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    async def ended(self) -> int:
        """Wait for its end and return its code."""
        return await self._process.wait()

    async def until_ready(self, timeout_s: float | None = None) -> None:
        """Wait until it answers.

        Raises Trouble with the end of its log when it ends first or the deadline passes.
        """
        loop = asyncio.get_running_loop()
        limit_s = self.program.ready_timeout_s if timeout_s is None else timeout_s
        deadline = loop.time() + limit_s
        while not await self.program.is_ready():
            if self.returncode is not None:
                raise self.trouble(f"{self.program.name} ended with code {self.returncode} while starting")
            if loop.time() > deadline:
                raise self.trouble(f"{self.program.name} is not ready after {limit_s:.0f} s")
            await asyncio.sleep(READY_POLL_S)

    async def kill(self) -> None:
        """End it at once, with its whole process group."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """Drain it, ask it to end, and after its grace kill its whole process group."""
        if self.returncode is None and self.program.drain is not None:
            await self.program.drain()
        if self.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(self.program.stop_signal)
            try:
                await asyncio.wait_for(self._process.wait(), self.program.stop_grace_s)
            except TimeoutError:
                await self.kill()

    def trouble(self, what: str) -> Trouble:
        """Return a failure that shows the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return Trouble(what + "".join(f"\n  | {line}" for line in lines), f"Its log is {self.log}.")


async def start(program: Program, log: Path) -> Running:
    """Start a program with its output appended to `log`.

    Call it on the main thread: the kernel binds a child's death signal to the thread that started it.
    Raises Trouble when the program itself is missing or the log cannot be written.
    """
    try:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *program.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=program.folder,
                env={**base_environment(), **program.environment, **program.passwords()},
                start_new_session=True,
            )
    except OSError as error:
        cure = "Look at the free space (df -h) and the rights of that folder, then start again."
        raise Trouble(f"{program.name} could not be started: {error}", cure) from error
    return Running(program, process, log)
