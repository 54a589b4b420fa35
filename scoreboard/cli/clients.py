"""`scoreboard clients`: trusted clients, such as game servers, that report scores in the players' stead."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.local import state
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    import psycopg

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
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Create a trusted client and print its secret, which is shown this once."""
    from mesh.client_secret import new_secret, secret_hash

    if not NAME_RULE.fullmatch(name):
        raise typer.BadParameter("1 to 50 of a-z, 0-9, dot, dash and underscore", param_hint="NAME")
    allowed = None if actions is None else [action.strip() for action in actions.split(",")]
    secret = new_secret()
    _add(data, name, secret_hash(secret), allowed, rate)
    if as_json:
        row = {"client_id": name, "client_secret": secret, "actions": allowed, "updates_per_second": rate}
        print(json.dumps(row))
        return
    print(f"client_id      {name}")
    print(f"client_secret  {secret}")
    typer.echo("The secret is not shown again: keep it where the client finds it.", err=True)


def _add(data: Path, name: str, stored: str, allowed: list[str] | None, rate: int) -> None:
    import psycopg

    try:
        with psycopg.connect(state.postgres_url(data), connect_timeout=5) as connection:
            _check_actions(connection, allowed)
            connection.execute(
                "INSERT INTO clients (client_id, secret_hash, role, actions, updates_per_second)"
                " VALUES (%s, %s, %s, %s, %s)",
                [name, stored, GAME_SERVER, allowed, rate],
            )
    except psycopg.errors.UniqueViolation as error:
        raise Trouble(f"There is a client {name} already.", "Choose another name.") from error
    except psycopg.OperationalError as error:
        raise Trouble(f"Postgres does not answer: {error}", "See: scoreboard status, and DIR/logs.") from error


def _check_actions(connection: psycopg.Connection, allowed: list[str] | None) -> None:
    if allowed is None:
        return
    known = {row[0] for row in connection.execute("SELECT action_id FROM actions WHERE enabled")}
    unknown = [action for action in allowed if action not in known]
    if unknown:
        cure = f"Known: {', '.join(sorted(known))}. Others are added in scoreboard.toml (scoreboard apply)."
        raise Trouble(f"The catalogue has no action {', '.join(unknown)}.", cure)
