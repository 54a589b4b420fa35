"""Ends what a killed supervisor could not: processes that its mesh.json names and that still live."""

from __future__ import annotations

import psutil

from scoreboard.local.state import MeshState

TERM_GRACE_S = 8.0  # Postgres writes a checkpoint; the others need less


def end(state: MeshState) -> int:
    """End the mesh's living processes with their children, and return how many there were."""
    found = [live for process in state.processes if (live := process.find()) is not None]
    family = [child for live in found for child in _children(live)]
    for live in found:
        _ask(live)
    _, stubborn = psutil.wait_procs([*found, *family], timeout=TERM_GRACE_S)
    for live in stubborn:
        _kill(live)
    psutil.wait_procs(stubborn, timeout=TERM_GRACE_S)
    return len(found)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _ask(process: psutil.Process) -> None:
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        return


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
