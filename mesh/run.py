"""Starts a process of the mesh: settings, logs, event loop, exit status."""

import asyncio
import gc
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from mesh import logs, settings, tracing

#: By default a collection begins at 700 new objects: with thousands of sockets and calls in memory, a third of a push's
#: cost (make bench CASE=pushes). What is left to the collector is cycles, and we make few.
GC_THRESHOLD = (50_000, 20, 50)

S = TypeVar("S", bound=settings.ServiceSettings)


def run(name: str, settings_class: type[S], main: Callable[[S], Awaitable[None]]) -> None:
    """Runs `main` with the settings of the environment; exits 2 for a wrong setting, 1 for a failed start."""
    logs.configure(name, "INFO")  # a wrong setting is told as a line too
    values = settings.load(settings_class)
    logs.configure(name, values.log_level)
    tracing.configure(name, values.traces_endpoint, values.traces_ratio)
    gc.freeze()  # imports live as long as the process: no collection need look at them
    gc.set_threshold(*GC_THRESHOLD)

    async def _main() -> None:
        await main(values)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main())
    except (OSError, ValueError) as e:
        logging.getLogger(name).error("Cannot run: %s", e, extra={"event": "start_failed"})
        sys.exit(1)
    finally:
        tracing.close()
