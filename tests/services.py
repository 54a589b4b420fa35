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


@asynccontextmanager
async def serving(
    module: str, health_name: str, port_setting: str, environment: Mapping[str, str], folder: Path
) -> AsyncIterator[tuple[Running, int]]:
    """Yields a ready service and its gRPC port, told by the variable `port_setting`; stops it at the end."""
    ports = Ports()
    port = ports.take(module)
    program = Program(
        name=module,
        argv=(sys.executable, "-m", module),
        port=port,
        is_ready=partial(probe.grpc_health, port, health_name),
        environment={**environment, port_setting: str(port)},
        folder=TREE,
    )
    running = await servers.run(program, ports, folder)
    try:
        yield running, port
    finally:
        await running.stop()
