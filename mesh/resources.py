"""Says now and then what this process uses, and what its callers were refused: two events for the log, a minute apart.

What they are day by day is the log's business; how they move by the second is the metrics'.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping

import psutil

from mesh import rpc_figures

log = logging.getLogger(__name__)

PAUSE_S = 60.0


class Resources:
    """What was told last. methods: paths of RPCs, by their names among the metrics; of others no refusal is told."""

    def __init__(self, methods: Mapping[str, str]) -> None:
        self._methods = methods
        self._refusals = rpc_figures.refusals()
        self._process = psutil.Process()
        self._cpu_s, self._at = 0.0, time.monotonic()

    async def keep_telling(self) -> None:
        """Tells each minute until cancelled."""
        while True:
            self.tell()
            await asyncio.sleep(PAUSE_S)

    def tell(self) -> None:
        """Tells what there is to tell since the last time."""
        with self._process.oneshot():
            times, rss_bytes = self._process.cpu_times(), self._process.memory_info().rss
            files = self._process.num_fds()
        cpu_s, now = times.user + times.system, time.monotonic()
        elapsed_s = max(now - self._at, 1e-3)
        extra = {
            "event": "resources",
            "cpu_s": round(cpu_s, 2),
            "cpu_share": round((cpu_s - self._cpu_s) / elapsed_s, 3),
            "rss_bytes": rss_bytes,
            "open_files": files,
            "threads": threading.active_count(),
            "tasks": len(asyncio.all_tasks()),
        }
        self._cpu_s, self._at = cpu_s, now
        log.info("Resources in use", extra=extra)
        self._tell_refusals()

    def _tell_refusals(self) -> None:
        before, self._refusals = self._refusals, rpc_figures.refusals()
        for (name, reason), total in self._refusals.items():
            count = int(total - before.get((name, reason), 0))
            if count and name in self._methods:
                extra = {"event": "refused", "method": self._methods[name], "reason": reason, "count": count}
                log.info("Calls were refused", extra=extra)
