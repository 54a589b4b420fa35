"""Starts one service of ours as the mesh does: `python -m NAME`, configured by its environment alone."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from scoreboard.local import probe
from scoreboard.local.ports import Ports
from scoreboard.local.program import Program, Running
from tests import servers

TREE = Path(__file__).parent.parent


def program(
    module: str, health_name: str, port_setting: str, port: int, environment: Mapping[str, str], name: str = ""
) -> Program:
    """Return a service that serves gRPC on this port, told by the variable `port_setting`; named as its module."""
    return Program(
        name=name or module,
        argv=(sys.executable, "-m", module),
        port=port,
        is_ready=partial(probe.grpc_health, port, health_name),
        # No gateway need see its end coming, unless the test says so.
        environment={"SCOREBOARD_DRAIN_S": "0", **environment, port_setting: str(port)},
        folder=TREE,
    )


@asynccontextmanager
async def serving(
    module: str, health_name: str, port_setting: str, environment: Mapping[str, str], folder: Path
) -> AsyncIterator[tuple[Running, int]]:
    """Yields a ready service and its gRPC port, told by the variable `port_setting`; stops it at the end."""
    ports = Ports()
    port = ports.take(module)
    running = await servers.run(program(module, health_name, port_setting, port, environment), ports, folder)
    try:
        yield running, port
    finally:
        await running.stop()
