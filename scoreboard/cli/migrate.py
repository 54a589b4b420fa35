"""`scoreboard migrate`: brings a deployment's database to the newest schema; Kubernetes runs it before the services.

`scoreboard up` does the same by itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from scoreboard.cli.owner import POSTGRES_VARIABLE
from scoreboard.local import accounts, database
from scoreboard.local.first_start import apply_first_catalogue
from scoreboard.local.state import DATABASE
from scoreboard.local.trouble import Trouble


def migrate(
    url: Annotated[str, typer.Option(envvar=POSTGRES_VARIABLE, help="The database, as its owner: postgresql://….")],
    superuser_url: Annotated[
        str | None,
        typer.Option(
            envvar="SCOREBOARD_SUPERUSER_URL", help="Where the roles and the database are to be made as well."
        ),
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option(envvar="SCOREBOARD_PASSWORDS", help="With it: a folder with a file of each role's password."),
    ] = None,
    operator: Annotated[
        Path | None,
        typer.Option(envvar="SCOREBOARD_OPERATOR_FILE", help="The secret of the operator's client, scoreboard-cli."),
    ] = None,
) -> None:
    """Make or mend a deployment's tables, and its first catalogue; safe to repeat and to run twice at once."""
    if (superuser_url is None) != (passwords is None):
        raise typer.BadParameter("--superuser-url and --passwords come together")
    import psycopg

    try:
        if superuser_url is not None and passwords is not None:
            database.make_roles(superuser_url, _read_all(passwords))
            database.make_database(superuser_url, DATABASE)
        _prepare(url, operator)
    except psycopg.Error as error:
        raise Trouble(
            f"The database could not be prepared: {error}", "Mend what it says, then run it again."
        ) from error
    for line in asyncio.run(apply_first_catalogue(url)):
        print(line)
    print("The database has the newest schema.")


def _prepare(url: str, operator: Path | None) -> None:
    from board import migrate as migrations
    from mesh.client_secret import secret_hash

    migrations.migrate(url)
    if operator is not None:
        database.make_operator(url, secret_hash(_read(operator)))


def _read_all(folder: Path) -> dict[str, str]:
    return {account: _read(folder / account) for account in accounts.ACCOUNTS}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error}", "Each secret is a file with nothing else in it.") from error
