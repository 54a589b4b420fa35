"""`scoreboard doctor`: looks a running mesh over, and says of what is not well how to mend it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.local import state

if TYPE_CHECKING:
    from scoreboard.cli.checks.finding import Finding

STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Check a running mesh: processes, servers, boards, queues, keys, files; exit 1 when a check failed.

    Each check says ok, warning or failed, and what to do about it.
    """
    with Console(stderr=True, quiet=as_json).status("Looking the mesh over"):
        findings = asyncio.run(_examine(data))
    counts = Counter(str(finding.state) for finding in findings)
    if as_json:
        print(json.dumps({"ok": not counts["failed"], "checks": [asdict(finding) for finding in findings]}))
    else:
        _show(findings)
        print(" · ".join(f"{word} {counts[word]}" for word in STYLES))
    raise typer.Exit(1 if counts["failed"] else 0)


async def _examine(data: Path) -> list[Finding]:
    from scoreboard.cli.checks import boards, machine, postgres, processes, rabbitmq, redis

    mesh = state.require(data)
    postgres_url, redis_url = state.postgres_url(data), state.redis_url(data)
    parts = await asyncio.gather(
        processes.check(data, mesh),
        postgres.check(postgres_url),
        redis.check(redis_url),
        boards.check(postgres_url, redis_url),
    )
    # Alone: its tool takes both cores for two seconds, and a probe that waits for them would call the others slow.
    broker = await rabbitmq.check(data)
    return [*(finding for part in parts for finding in part), *broker, *machine.check(data)]


def _show(findings: list[Finding]) -> None:
    table = Table("check", "", "found")
    for finding in findings:
        state_ = f"[{STYLES[finding.state]}]{finding.state}[/]"
        found = finding.found if not finding.cure else f"{finding.found}\n{finding.cure}"
        table.add_row(finding.check, state_, escape(found))
    Console().print(table)
