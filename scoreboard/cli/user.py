"""`scoreboard user`: an operator's hands on one player. AdminService does it; the export reads the database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from scoreboard.cli.ask import Reason, ask
from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import open_stores
from scoreboard.cli.plain import at, print_json, printable, row_line, to_json
from scoreboard.cli.who import User, find_player, find_user_id
from scoreboard.local.files import write_private
from scoreboard.local.trouble import Trouble
from scoreboard.v1 import admin_pb2

if TYPE_CHECKING:
    from board.explain import Copy

ACTIVE, BANNED = "active", "banned"

user = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at a player, ban, rename, export, erase.")


@user.callback()
def _user() -> None:
    """Look at a player, ban, rename, export, erase."""


@user.command()
def show(user: User, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Show a player's state, places on open boards and last rows of the ledger."""
    found = _get(data, _id(data, user))
    if as_json:
        print_json(found)
        return
    print(f"{_name(found)}: {found.state} {found.role}, live sessions {found.sessions}, since {at(found.created_at)}")
    if found.entries:
        table = Table("board", "rank", "score")
        for board, row in zip(found.entry_boards, found.entries, strict=True):
            table.add_row(board, str(row.rank), f"{row.score:.0f}")
        Console().print(table)
    for line in found.last:
        print(row_line(line))


@user.command()
def ban(user: User, reason: Reason, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Ban a player: off all boards at once, no login, no updates. The ledger keeps everything."""
    _set_state(data, user, BANNED, reason, as_json)


@user.command()
def unban(user: User, reason: Reason, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """End a player's ban: back on all boards, with the score of before."""
    _set_state(data, user, ACTIVE, reason, as_json)


@user.command()
def rename(
    user: User,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new username.")],
    reason: Reason,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Give a player another name."""
    request = admin_pb2.RenameUserRequest(user_id=_id(data, user), username=name, reason=reason)
    done = ask(data, lambda stub: stub.RenameUser, request)
    _say(done, f"{done.user_id} is now called {printable(done.username)}.", as_json)


@user.command()
def delete(
    user: User,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", envvar="SCOREBOARD_YES", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Erase a player for good: name, password, sessions, places. The ledger keeps rows that name nobody."""
    user_id = _id(data, user)
    if not yes:
        typer.confirm(f"Erase {_name(_get(data, user_id))} for good?", abort=True, err=True)
    done = ask(data, lambda stub: stub.DeleteUser, admin_pb2.DeleteUserRequest(user_id=user_id, reason=reason))
    _say(done, f"{user_id} is erased.", as_json)


@user.command()
def export(
    user: User,
    output: Annotated[
        Path | None, typer.Option(envvar="SCOREBOARD_OUTPUT", help="The file to write, for its owner's eyes alone.")
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write all that is kept about a player as JSON: what a request for access to one's own data asks for.

    Profile, places in all periods, the whole ledger, when sessions began and ended, dead letters.
    """
    text = to_json(asyncio.run(_copy(data, user)))
    if output is None:
        print(text)
        return
    try:
        write_private(output, text + "\n")
    except OSError as error:
        raise Trouble(f"{output} cannot be written: {error}", "Name another file with --output.") from error
    typer.echo(f"{output} is written.", err=True)


def _id(data: Path, user: str) -> str:
    return asyncio.run(find_user_id(data, user))


def _get(data: Path, user_id: str) -> admin_pb2.AdminUser:
    return ask(data, lambda stub: stub.GetUser, admin_pb2.GetUserRequest(user_id=user_id))


def _set_state(data: Path, user: str, state: str, reason: str, as_json: bool) -> None:
    request = admin_pb2.SetUserStateRequest(user_id=_id(data, user), state=state, reason=reason)
    done = ask(data, lambda stub: stub.SetUserState, request)
    _say(done, f"{_name(done)} is {done.state}.", as_json)


def _say(done: admin_pb2.AdminUser, sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        print(sentence)


def _name(found: admin_pb2.AdminUser) -> str:
    return f"{printable(found.username)} ({found.user_id})"


async def _copy(data: Path, user: str) -> Copy:
    from board import explain

    async with open_stores(data) as (pool, redis):
        async with pool.acquire() as conn:
            player = await find_player(conn, user)
        copied = await explain.copy(pool, redis, player.user_id)
    if copied is None:
        raise Trouble(f"The player {player.user_id} has another id now.", "Erased meanwhile: name the player again.")
    return copied
