"""`scoreboard up`, from the call to its return: every process healthy, the boards in Redis, the gateway serving."""

from __future__ import annotations

import time

from bench import mesh
from bench.figure import Figure, Goal
from bench.stage import REPEATS, Stage

START_GOAL = Goal(15.0)


async def start(_: Stage) -> list[Figure]:
    """`scoreboard up` on a folder that is not there yet, and on one that a mesh has left."""
    fresh_s: list[float] = []
    again_s: list[float] = []
    for _repeat in range(REPEATS):
        with mesh.folder() as data:
            for found_s in (fresh_s, again_s):
                began = time.perf_counter()
                try:
                    mesh.call_up(data)
                    found_s.append(time.perf_counter() - began)
                finally:
                    mesh.down(data)
    return [
        Figure("start on a new folder", fresh_s, "s", START_GOAL),
        Figure("start on a folder that is there", again_s, "s", START_GOAL),
    ]
