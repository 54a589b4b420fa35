"""`scoreboard explain`: why a player's score is what it is, from the ledger to the boards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import open_stores
from scoreboard.cli.plain import at, ledger_line, print_json, printable
from scoreboard.cli.who import User, find_player
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from board.explain import Explanation, Place, Standing
    from board.player import GivenUp, LedgerLine, Limit, Player

ROWS_MAX = 10_000


def explain(
    user: User,
    rows: Annotated[
        int, typer.Option(min=1, max=ROWS_MAX, envvar="SCOREBOARD_ROWS", help="How many rows of the ledger to show.")
    ] = 20,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Explain a player's score: places in Postgres and Redis, the ledger behind them, limits, dead letters.

    Exit 1 when ledger, entries and Redis do not tell the same of the player.
    """
    explained = asyncio.run(_explain(data, user, rows))
    if as_json:
        print_json(explained, agrees=explained.agrees)
    else:
        _show(explained)
    raise typer.Exit(0 if explained.agrees else 1)


async def _explain(data: Path, user: str, rows: int) -> Explanation:
    from board import explain as explanation

    async with open_stores(data) as (pool, redis):
        async with pool.acquire() as conn:
            player = await find_player(conn, user)
        explained = await explanation.explain(pool, redis, player.user_id, rows=rows)
    if explained is None:
        raise Trouble(f"The player {player.user_id} has another id now.", "Erased meanwhile: name the player again.")
    return explained


def _show(explained: Explanation) -> None:
    console = Console()
    print(_who(explained.player))
    if explained.standings:
        console.print(_standings(explained.standings))
    else:
        print("On no open board.")
    if explained.ledger:
        print("Last rows of the ledger")
        print("\n".join(_ledger(explained.ledger)))
    if explained.limits:
        console.print(_limits(explained.limits))
    if explained.dead_letters:
        console.print(_dead_letters(explained.dead_letters))
    if explained.agrees:
        print("ledger = entries = Redis")
        return
    for standing in explained.standings:
        for difference in standing.differences:
            print(f"{standing.board} {standing.period}: {difference} differ")


def _who(player: Player) -> str:
    return (
        f"{printable(player.username)} ({player.user_id}), number {player.user_ref}: {player.state} {player.role}, "
        f"score {player.score}, live sessions {player.sessions}, since {at(player.created_at)}"
    )


def _standings(standings: tuple[Standing, ...]) -> Table:
    table = Table("board", "period", "ledger", "Postgres", "Redis", "", title="Open boards", title_justify="left")
    for one in standings:
        shown = _place(one.redis) if one.in_view else "not ready"
        ledger = "no rows" if one.ledger is None else str(one.ledger)
        table.add_row(one.board, one.period, ledger, _place(one.postgres), shown, "differ" if one.differences else "=")
    return table


def _place(place: Place | None) -> str:
    if place is None:
        return "nothing"
    if place.rank is None:
        return f"hidden, version {place.version}"
    return f"{place.score}, rank {place.rank}, version {place.version}"


def _ledger(lines: Iterable[LedgerLine]) -> Iterator[str]:
    for line in lines:
        what = line.action_id if line.kind in ("update", "import") else line.kind
        outcome = " ".join(filter(None, (line.outcome, line.reason, "and taken back" if line.is_taken_back else "")))
        yield ledger_line(line.applied_at, line.points, what, outcome, line.reporter)
        boards = ", ".join(name.removesuffix(" all-time") for name in line.counted_on)
        yield f"    {line.update_id}" + (f" on {boards}" if boards else "")


def _limits(limits: tuple[Limit, ...]) -> Table:
    table = Table("action", "cooldown", "cap", "last counted", "next", title="Limited actions", title_justify="left")
    for one in limits:
        cooldown = "" if one.cooldown_s is None else f"{one.cooldown_s:.0f} s"
        cap = "" if one.cap_count is None else f"{one.used} of {one.cap_count} in {one.cap_window_s:.0f} s"
        last = "never" if one.last_at is None else at(one.last_at)
        table.add_row(one.action_id, cooldown, cap, last, "now" if one.next_at is None else at(one.next_at))
    return table


def _dead_letters(letters: tuple[GivenUp, ...]) -> Table:
    table = Table("update", "what", "reason", "failed first at", title="Dead letters", title_justify="left")
    for one in letters:
        what = one.action_id or one.kind
        table.add_row(str(one.update_id), what, one.reason, at(one.first_failed_at))
    return table
