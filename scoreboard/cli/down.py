"""`scoreboard down`: stops the mesh of a folder, also one whose supervisor was killed."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from scoreboard.cli.options import DEFAULT_DATA, Data
from scoreboard.local import leftovers, state

STOP_TIMEOUT_S = 100.0  # drain, services, workers and servers each have their own, shorter bounds


def down(data: Data = DEFAULT_DATA) -> None:
    """Stop a running mesh and wait until all its processes have ended; nothing else is touched."""
    mesh = state.read(data)
    if mesh is None:
        print(f"No mesh runs under {data}.")
        return
    supervisor = mesh.supervisor.find()
    if supervisor is not None:
        _stop(supervisor)
    ended = leftovers.end(state.read(data) or mesh)
    if supervisor is None and not ended:
        print(f"No mesh runs under {data}.")
    else:
        print("Scoreboard is down.")


def _stop(supervisor: psutil.Process) -> None:
    """Ask the supervisor to stop the mesh; kill it when it does not, for its children die with it."""
    with suppress(psutil.NoSuchProcess):
        supervisor.terminate()
        began = time.monotonic()
        try:
            supervisor.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            print(f"scoreboard up did not stop within {time.monotonic() - began:.0f} s; it is killed.")
            supervisor.kill()
            supervisor.wait(STOP_TIMEOUT_S)
