"""`scoreboard up`: runs the mesh, in the foreground until Ctrl-C or detached until `scoreboard down`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from scoreboard.cli.options import DEFAULT_DATA, Data
from scoreboard.local import state
from scoreboard.local.gateway import Hop
from scoreboard.local.services import Limits
from scoreboard.local.supervisor import Options, Supervisor
from scoreboard.local.trouble import Trouble

FREE_BYTES_MIN = 300 * 1024 * 1024  # Postgres' first WAL and RabbitMQ's own alarm need about two thirds of it
TAIL_POLL_S = 0.1
DETACH_VARIABLE = "SCOREBOARD_DETACH"


def up(
    detach: Annotated[
        bool, typer.Option("--detach", envvar=DETACH_VARIABLE, help="Return when the mesh is ready; it runs on.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, envvar="SCOREBOARD_PORT", help="The gateway's port.")] = 8080,
    data: Data = DEFAULT_DATA,
    updates_per_minute: Annotated[
        int, typer.Option(min=1, envvar="SCOREBOARD_UPDATES_PER_MINUTE", help="Score updates a user.")
    ] = 10,
    logins_per_minute: Annotated[
        int, typer.Option(min=1, envvar="SCOREBOARD_LOGINS_PER_MINUTE", help="Sign-ups and logins an address.")
    ] = 20,
    hop: Annotated[
        Hop, typer.Option(envvar="SCOREBOARD_HOP", help="How the gateway calls the services; http1 costs a third.")
    ] = Hop.HTTP1,
    with_monitoring: Annotated[
        bool,
        typer.Option(
            "--with-monitoring",
            envvar="SCOREBOARD_WITH_MONITORING",
            help="Run Prometheus and Alertmanager too (make setup WITH=monitoring installs them).",
        ),
    ] = False,
    alert_webhook: Annotated[
        str | None, typer.Option(envvar="SCOREBOARD_ALERT_WEBHOOK", help="The URL that Alertmanager tells of alerts.")
    ] = None,
) -> None:
    """Run the whole mesh on 127.0.0.1: Postgres, Redis, RabbitMQ, the services, two workers and Envoy.

    All state lives in the data folder; the first start makes it. Ctrl-C, or `scoreboard down`, ends it.
    """
    limits = Limits(updates_per_minute, logins_per_minute)
    options = Options(data.absolute(), port, limits, hop, with_monitoring, alert_webhook)
    if detach:
        _run_detached(options)
    else:
        _run_here(options)


def _run_here(options: Options) -> None:
    lock = open_folder(options.data)
    try:
        asyncio.run(_serve(options))
    finally:
        lock.close()


async def _serve(options: Options) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    supervisor = Supervisor(options, _say)
    start = asyncio.create_task(supervisor.start(), name="start")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            _say(f"Scoreboard is up: http://127.0.0.1:{options.port}")
            _say(f"Try: {_command()} demo{_data_flag(options.data)}")
            await stop
    finally:
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        _say("Stopping")
        await supervisor.stop()
        _say("Scoreboard is down.")


def open_folder(data: Path) -> state.Lock:
    """Make the folder and take its lock. Raises Trouble: no rights, no room, or another `up` runs there."""
    try:
        if not data.exists():
            # Where we are root, Postgres' own account passes, and sees nothing.
            data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True)
        (data / "logs").mkdir(mode=0o700, exist_ok=True)
        lock = state.Lock(data)
        free_bytes = shutil.disk_usage(data).free
    except OSError as error:
        raise Trouble(f"The data folder {data} cannot be used: {error}", state.FOLDER_CURE) from error
    if not lock.take():
        cure = f"Stop it (scoreboard down --data {data}), or choose another folder with --data."
        raise Trouble(f"Another scoreboard up runs on {data}.", cure)
    if free_bytes < FREE_BYTES_MIN:
        what = f"Only {free_bytes // 2**20} MB are free where {data} is; {FREE_BYTES_MIN // 2**20} MB are needed."
        raise Trouble(what, "Make room, or choose a folder on another disk with --data.")
    return lock


def _run_detached(options: Options) -> None:
    """Start `scoreboard up` in a session of its own and show what it says until it is ready or has ended."""
    open_folder(options.data).close()
    log = options.data / "logs" / "up.log"
    limits = options.limits
    argv = [sys.executable, "-m", "scoreboard.cli", "up", "--data", str(options.data), "--port", str(options.port)]
    argv += ["--updates-per-minute", str(limits.updates_per_minute)]
    argv += ["--logins-per-minute", str(limits.logins_per_minute), "--hop", options.hop]
    argv += ["--with-monitoring"] * options.with_monitoring
    environment = {name: value for name, value in os.environ.items() if name != DETACH_VARIABLE}
    if options.alert_webhook:  # it may hold a secret, which arguments would show to everyone
        environment["SCOREBOARD_ALERT_WEBHOOK"] = options.alert_webhook
    with log.open("ab") as output:
        shown = output.tell()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=environment
        )
    try:
        code = _show_until_ready(child, options.data, log, shown)
    except KeyboardInterrupt:
        child.terminate()
        code = child.wait() or 130
    if code:
        raise typer.Exit(code)


def _show_until_ready(child: subprocess.Popen[bytes], data: Path, log: Path, shown: int) -> int:
    with log.open("rb") as lines:
        lines.seek(shown)
        while True:
            code = child.poll()
            mesh = state.read(data)
            ready = mesh is not None and mesh.supervisor.pid == child.pid and mesh.phase == "ready"
            sys.stdout.write(lines.read().decode(errors="replace"))
            sys.stdout.flush()
            if code is not None:
                return code or 1
            if ready:
                return 0
            time.sleep(TAIL_POLL_S)


def _say(line: str) -> None:
    with suppress(OSError):  # a reader that went away or a full disk must not end a mesh that runs
        print(line, flush=True)


def _command() -> str:
    """Name this command so that it can be typed as shown."""
    called = Path(sys.argv[0])
    own = Path(sys.executable).with_name("scoreboard")
    shown = called if called.name == "scoreboard" else own
    return os.path.relpath(shown) if shown.is_relative_to(Path.cwd()) else str(shown)


def _data_flag(data: Path) -> str:
    return "" if data == DEFAULT_DATA.absolute() else f" --data {data}"
