"""Asks the Prometheus and Alertmanager of a running mesh."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

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
