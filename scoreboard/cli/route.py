"""`scoreboard route`: the gateway before the regions' gateways, or its configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from scoreboard.cli.options import DEFAULT_DATA, Data
from scoreboard.local import region_gateway, servers
from scoreboard.local.ports import Ports


def route(
    regions: Annotated[Path, typer.Argument(metavar="FILE", help="The file that names the regions (docs/regions.md).")],
    port: Annotated[int, typer.Option(min=1, max=65535, envvar="SCOREBOARD_PORT", help="The gateway's port.")] = 8000,
    data: Data = DEFAULT_DATA,
    trusted_hops: Annotated[
        int, typer.Option(min=0, max=10, envvar="SCOREBOARD_TRUSTED_HOPS", help="Proxies in front of this gateway.")
    ] = 0,
    print_: Annotated[
        bool, typer.Option("--print", envvar="SCOREBOARD_PRINT", help="Print Envoy's configuration, and run nothing.")
    ] = False,
) -> None:
    """Send each call to its region, until Ctrl-C: by its token, the header x-region, its address, or to the default."""
    found = region_gateway.read(regions)
    ports = Ports()
    ports.claim("gateway", port)
    text = region_gateway.render(found, port, ports.take("envoy-admin"), trusted_hops=trusted_hops)
    if print_:
        print(text)
        return
    folder = data.absolute() / "regions"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = servers.envoy(folder, text, port, ports.numbers["envoy-admin"])
    names = ", ".join(each.name for each in found.region)
    typer.echo(f"Scoreboard's regions ({names}): http://127.0.0.1:{port}")
    ports.release_all()
    os.execv(program.argv[0], program.argv)  # noqa: S606 -- it is this process from here on: Ctrl-C ends it
