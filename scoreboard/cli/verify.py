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
from scoreboard.local import state
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from board.verify import Verified

REDIS_TIMEOUT_S = 30.0  # a scan of a big board on a busy machine; nobody else waits for it
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
    from mesh.postgres import AWAY as POSTGRES_AWAY
    from mesh.postgres import create_pool
    from mesh.redis import AWAY as REDIS_AWAY
    from mesh.redis import connect

    redis = connect(state.redis_url(data), timeout_s=REDIS_TIMEOUT_S)
    try:
        async with await create_pool(state.postgres_url(data), name="scoreboard verify", size=2) as pool:
            return await verification.verify(pool, redis)
    except (*POSTGRES_AWAY, *REDIS_AWAY) as error:
        raise Trouble(f"Postgres or Redis does not answer: {error}", "See: scoreboard status, and DIR/logs.") from error
    finally:
        await redis.aclose()


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
