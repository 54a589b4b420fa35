"""`scoreboard verify`: ledger, entries and Redis of a running mesh, compared for every board, period and player."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import open_stores

if TYPE_CHECKING:
    from board.verify import Verified

SHOWN_MAX = 20  # lines for people; --json has all


def verify(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Compare ledger, entries and Redis for every board; exit 1 and the differences otherwise."""
    with Console(stderr=True, quiet=as_json).status("Comparing ledger, entries and Redis"):
        found = asyncio.run(_verify(data))
    if as_json:
        print(json.dumps({"ok": not found.differences, **asdict(found)}))
    else:
        _show(found)
    raise typer.Exit(1 if found.differences else 0)


async def _verify(data: Path) -> Verified:
    from board import verify as verification

    async with open_stores(data) as (pool, redis):
        return await verification.verify(pool, redis)


def _show(found: Verified) -> None:
    print(
        f"{found.applied} updates applied, {found.refused} refused, {found.dead_letters} dead letters; "
        f"{found.entries} entries in {found.periods} periods of the boards"
    )
    if not found.differences:
        print("ledger = entries = Redis")
        return
    table = Table("board", "period", "player no.", "what", "expected", "found")
    for one in found.differences[:SHOWN_MAX]:
        table.add_row(one.board, one.period, one.user, one.what, one.expected, one.found)
    Console().print(table)
    print(f"{len(found.differences)} differences")
