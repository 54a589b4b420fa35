"""Lets an Envoy finish the calls that it has in hand: SIGTERM alone ends it in the middle of them.

`python -m scoreboard.local.drain ADMIN_URL SECONDS` is what Kubernetes runs before it stops the gateway (preStop).
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from scoreboard.local import probe

ACTIVE = "http.edge.downstream_rq_active"
LIMIT_S = 5.0  # the longest that a call takes; stream_svc ends the streams meanwhile


async def drain_envoy(admin: str, drain_s: float) -> None:
    """Close its listeners after drain_s, in which answers say `connection: close`, then wait for calls in flight.

    admin: the URL of its own port. drain_s: at least what its --drain-time-s says, which closes the listeners.
    """
    for path in ("/healthcheck/fail", "/drain_listeners?graceful"):
        await probe.http(admin + path, method="POST")
    await asyncio.sleep(drain_s)
    with suppress(TimeoutError):
        await asyncio.wait_for(_quiet(admin), LIMIT_S)


async def _quiet(admin: str) -> None:
    # Envoy pushes no such event: it has to be asked.
    while await probe.http_text(f"{admin}/stats?filter={ACTIVE}$") != f"{ACTIVE}: 0":  # noqa: ASYNC110
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(drain_envoy(sys.argv[1], float(sys.argv[2])))
