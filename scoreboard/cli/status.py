"""`scoreboard status`: the processes of a running mesh, each by the server's own pid."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.local import state


def status(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Show the processes of a running mesh and the gateway's address; exit 1 when none runs."""
    mesh = state.require(data)
    listed = [process for process in mesh.running() if process.listed]
    if as_json:
        rows = [{"name": process.name, "pid": process.pid, "port": process.port} for process in listed]
        print(json.dumps({"processes": rows, "gateway": mesh.gateway, "admin": mesh.admin} | mesh.monitoring))
        return
    table = Table("process", "pid", "port")
    for process in listed:
        table.add_row(process.name, str(process.pid), str(process.port))
    Console().print(table)
    print(f"gateway {mesh.gateway} ({mesh.phase})")
    for name, url in mesh.monitoring.items():
        print(name, url)
