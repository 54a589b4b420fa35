"""`scoreboard secrets rotate`: replaces a secret of the mesh while it runs."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import check_here
from scoreboard.cli.plain import print_json

secrets = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Replace passwords and keys while the mesh runs."
)


class Name(StrEnum):
    """What can be rotated."""

    POSTGRES = "postgres"
    REDIS = "redis"
    RABBITMQ = "rabbitmq"
    MASTER_KEY = "master-key"
    TOKEN_KEY = "token-key"  # noqa: S105 -- a name


DONE = {
    Name.POSTGRES: "Postgres has new passwords for the services and the owner.",
    Name.REDIS: "Redis has new passwords for the services and the owner.",
    Name.RABBITMQ: "RabbitMQ has new passwords for the services and the owner.",
    Name.MASTER_KEY: "New sessions and nonces use a new master key; the older ones stay good.",
    Name.TOKEN_KEY: "auth_svc makes the next token key: published now, signing in about 90 s.",
}


@secrets.callback()
def _secrets() -> None:
    """Replace passwords and keys while the mesh runs."""


@secrets.command()
def rotate(
    name: Annotated[Name, typer.Argument(help="Whose passwords, or which key.")],
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Replace a secret while the mesh runs: no call is refused, and what was known before is worth nothing after."""
    from scoreboard.local import rotation

    check_here()
    asyncio.run(rotation.rotate(data, name.value))
    if as_json:
        print_json({"rotated": name.value})
    else:
        print(DONE[name])
