"""`scoreboard admin`: who may operate the scoreboard. Gives roles as the owner of the database, which no service can.

Holds always: a role and its row in the admin log come together.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoreboard.cli import password
from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import check_here, open_postgres
from scoreboard.cli.password import PasswordFile
from scoreboard.cli.plain import print_json, printable
from scoreboard.cli.who import IS_ID, find_player
from scoreboard.local import accounts, state
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from board.player import Player

PASSWORD_BYTES = 18  # of a generated one: 24 letters
PLAYER = "player"


class Role(StrEnum):
    """What an account may do; each may do what the ones before it may."""

    MODERATOR = "moderator"
    OPERATOR = "operator"
    ADMIN = "admin"


admin = typer.Typer(no_args_is_help=True, add_completion=False, help="Say who may operate the scoreboard.")

Reason = Annotated[str, typer.Option(envvar="SCOREBOARD_REASON", help="Why, for the admin log.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The account's username; of one that is there, also id:USER_ID.")
]


@admin.callback()
def _admin() -> None:
    """Say who may operate the scoreboard."""


@admin.command()
def create(
    name: Name,
    role: Annotated[Role, typer.Option(envvar="SCOREBOARD_ROLE", help="What the account may do.")] = Role.ADMIN,
    existing: Annotated[
        bool,
        typer.Option("--existing", envvar="SCOREBOARD_EXISTING", help="Give the role to an account that is there."),
    ] = False,
    generate: Annotated[
        bool, typer.Option("--generate", envvar="SCOREBOARD_GENERATE", help="Make a password, and show it this once.")
    ] = False,
    password_file: PasswordFile = None,
    reason: Reason = "made on the command line",
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Create an account with a role, through the public gateway; it asks twice for a password.

    A session that is open already gets the role with its next token, within ten minutes.
    """
    if existing + generate + (password_file is not None) > 1:
        raise typer.BadParameter("--existing, --generate and --password-file exclude one another")
    check_here()
    if existing:
        player = asyncio.run(_set_role(data, name, role, reason))
    else:
        target = state.gateway_target(data)
        word = _password(generate, password_file)
        player = asyncio.run(_create(data, target, name, word, role, reason))
    shown = {"user_id": player.user_id, "username": player.username, "role": role.value}
    if generate:
        shown["password"] = word
    _print(shown, as_json)
    if generate:
        typer.echo("The password is not shown again.", err=True)


@admin.command()
def remove(name: Name, reason: Reason = "taken on the command line", data: Data = DEFAULT_DATA) -> None:
    """Take an account's role from it; it goes on as a player's, and operates nothing from now on."""
    player = asyncio.run(_set_role(data, name, None, reason))
    print(f"{printable(player.username)} ({player.user_id}) is a player.")


@admin.command("list")
def list_(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """List the accounts that have a role."""
    staff = asyncio.run(_staff(data))
    if as_json:
        print_json({"accounts": [{"user_id": p.user_id, "username": p.username, "role": p.role} for p in staff]})
        return
    for player in staff:
        print(f"{player.role:<9}  {printable(player.username)} ({player.user_id})")
    if not staff:
        typer.echo("No account has a role: scoreboard admin create NAME.", err=True)


def _password(generate: bool, file: Path | None) -> str:
    if generate:
        return secrets.token_urlsafe(PASSWORD_BYTES)
    return password.take(file, twice=True, cure="Give --password-file FILE (- is stdin), or --generate.")


async def _create(data: Path, target: str, name: str, password: str, role: Role, reason: str) -> Player:
    user_id = await _register(target, name, password)
    try:
        return await _set_role(data, IS_ID + user_id, role, reason)
    except Trouble as trouble:
        what = f"The account {name} is made, and has no role: {trouble.what}"
        raise Trouble(what, f"Erase it (scoreboard user delete {user_id}), then create it again.") from trouble


async def _register(target: str, name: str, password: str) -> str:
    from scoreboard.client import Client, ScoreboardError

    async with Client(target) as client:
        try:
            user_id = (await client.register(name, password)).user_id
        except ScoreboardError as error:
            raise _refused(name, error.reason, str(error)) from error
        # Nobody uses the session that came with the account.
        with contextlib.suppress(ScoreboardError):
            await client.logout()
        return user_id


def _refused(name: str, reason: str, said: str) -> Trouble:
    if reason == "USERNAME_TAKEN":
        return Trouble(
            f"There is an account {name} already.", "Choose another name, or give it the role with --existing."
        )
    return Trouble(f"The account was not made: {said}", "See: scoreboard status, and DIR/logs/auth_svc.log.")


async def _set_role(data: Path, user: str, role: Role | None, reason: str) -> Player:
    from board import acts
    from board.player import ROLES

    async with open_postgres(data) as pool, pool.acquire() as conn, conn.transaction():
        player = await find_player(conn, user, shown=False)
        if role is not None and player.state != "active":
            raise Trouble(f"{user} is {player.state}.", "Only an active account can have a role.")
        before, after = ROLES.index(player.role), ROLES.index(role or PLAYER)
        await acts.set_role(conn, player.user_ref, after)
        await acts.log_act(
            conn,
            actor=accounts.OPERATOR,
            action="role",
            target=str(player.user_ref),
            reason=reason,
            before={"role": before},
            after={"role": after},
        )
        return player


async def _staff(data: Path) -> list[Player]:
    from board.player import read_staff

    async with open_postgres(data) as pool, pool.acquire() as conn:
        return await read_staff(conn)


def _print(shown: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        print(f"{key:<9}  {value}")
