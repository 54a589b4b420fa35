"""Asks the Prometheus and Alertmanager of a running mesh, and runs hurried ones beside them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scoreboard.local import monitoring, state
from scoreboard.local.ports import Ports
from tests import servers
from tests.meshes import TREE, Mesh

#: What Grafana puts in place of these, as in a page of the last hour.
VARIABLES = {"$__rate_interval": "5m", "$__interval": "5m", "$__range": "5m"}


def plain(query: str) -> str:
    """Returns a dashboard's query as Prometheus takes it."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return re.sub(r"\$\w+", ".*", query)


@dataclass(frozen=True)
class Prometheus:
    """One Prometheus. url: its address."""

    url: str
    http: httpx.AsyncClient

    async def ask(self, path: str, **parameters: str) -> Any:
        """Returns the data of an answer; fails when it is an error."""
        answer = (await self.http.get(f"{self.url}/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, query: str) -> list[dict[str, Any]]:
        """Returns the series that a query finds now."""
        found: list[dict[str, Any]] = (await self.ask("query", query=query))["result"]
        return found

    async def value(self, query: str) -> float | None:
        """Returns the value of the one series that a query finds; None without one."""
        found = await self.query(query)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None


@asynccontextmanager
async def hurried(
    mesh: Mesh, folder: Path, hurry: Callable[[str, str], str], webhook: str | None = None
) -> AsyncIterator[str]:
    """A Prometheus and an Alertmanager more, which look twice a second; yields the former's address.

    hurry: takes the name and the text of a file of our rules and returns the rules to go by. webhook: told of alerts.
    """
    rules = folder / "rules"
    rules.mkdir()
    for path in (TREE / "monitoring" / "rules").glob("*.yml"):
        (rules / path.name).write_text(hurry(path.name, path.read_text()))
    ports = Ports()
    own = {name: ports.take(name) for name in ("prometheus", "alertmanager")}
    looked_at = state.require(mesh.data).ports | own
    routes = monitoring.alertmanager_configuration(webhook)
    route: Any = routes["route"]
    route["group_interval"] = "1s"
    route["routes"][0]["group_wait"] = "0s"
    started = []
    try:
        for program in (
            monitoring.alertmanager(folder, own["alertmanager"], routes),
            monitoring.prometheus(
                folder, own["prometheus"], monitoring.prometheus_configuration(looked_at, rules, look_s=0.5)
            ),
        ):
            started.append(await servers.run(program, ports, folder))
        yield f"http://127.0.0.1:{own['prometheus']}"
    finally:
        await asyncio.gather(*(each.kill() for each in started))
