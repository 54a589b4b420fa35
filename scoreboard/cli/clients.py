"""`scoreboard clients`: trusted clients, such as game servers, that report scores in the players' stead."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import open_postgres
from scoreboard.local import accounts
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from mesh.sql import Connection

NAME_RULE = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}")
GAME_SERVER = 4  # clients.role
RATE_MAX = 100_000  # updates a second; several times what one mesh takes

clients = typer.Typer(no_args_is_help=True, add_completion=False, help="Manage trusted clients (game servers).")


@clients.callback()
def _clients() -> None:
    """Manage trusted clients (game servers)."""


@clients.command()
def create(
    name: Annotated[str, typer.Argument(help="The client's id: lower-case letters, digits, dot, dash, underscore.")],
    actions: Annotated[
        str | None,
        typer.Option(
            envvar="SCOREBOARD_ACTIONS", help="The actions that it may report, with commas between; all when not given."
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option(min=1, max=RATE_MAX, envvar="SCOREBOARD_RATE", help="Updates a second that it may send.")
    ] = 1000,
    reason: Annotated[
        str, typer.Option(envvar="SCOREBOARD_REASON", help="Why, for the admin log.")
    ] = "made on the command line",
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Create a trusted client and print its secret, which is shown this once."""
    from mesh.client_secret import new_secret, secret_hash

    if not NAME_RULE.fullmatch(name):
        raise typer.BadParameter("1 to 50 of a-z, 0-9, dot, dash and underscore", param_hint="NAME")
    allowed = None if actions is None else [action.strip() for action in actions.split(",")]
    secret = new_secret()
    asyncio.run(_add(data, name, secret_hash(secret), allowed, rate, reason))
    if as_json:
        row = {"client_id": name, "client_secret": secret, "actions": allowed, "updates_per_second": rate}
        print(json.dumps(row))
        return
    print(f"client_id      {name}")
    print(f"client_secret  {secret}")
    typer.echo("The secret is not shown again: keep it where the client finds it.", err=True)


async def _add(data: Path, name: str, stored: str, allowed: list[str] | None, rate: int, reason: str) -> None:
    import asyncpg

    from board import acts

    try:
        async with open_postgres(data) as pool, pool.acquire() as conn, conn.transaction():
            await _check_actions(conn, allowed)
            await conn.execute(
                "INSERT INTO clients (client_id, secret_hash, role, actions, updates_per_second)"
                " VALUES ($1, $2, $3, $4, $5)",
                name,
                stored,
                GAME_SERVER,
                allowed,
                rate,
            )
            await acts.log_act(
                conn,
                actor=accounts.OPERATOR,
                action="client",
                target=f"client {name}",
                reason=reason,
                before={},
                after={"actions": allowed, "updates_per_second": rate},
            )
    except asyncpg.UniqueViolationError as error:
        raise Trouble(f"There is a client {name} already.", "Choose another name.") from error


async def _check_actions(conn: Connection, allowed: list[str] | None) -> None:
    if allowed is None:
        return
    known = {row["action_id"] for row in await conn.fetch("SELECT action_id FROM actions WHERE enabled")}
    unknown = [action for action in allowed if action not in known]
    if unknown:
        cure = f"Known: {', '.join(sorted(known))}. Others are added in scoreboard.toml (scoreboard apply)."
        raise Trouble(f"The catalogue has no action {', '.join(unknown)}.", cure)
