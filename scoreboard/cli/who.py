"""Finds the player that an operator means: by the user id, or by the exact username.

Holds always: what can mean several players means none, for anybody may show any name, even one that is another's id;
`id:` before a user id says that it is one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoreboard.cli.operator import URL_VARIABLE
from scoreboard.cli.owner import open_postgres
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from board.player import Player
    from mesh.sql import Connection

User = Annotated[str, typer.Argument(metavar="USER", help="The player's user id, id:USER_ID, or exact username.")]
IS_ID = "id:"


async def find_player(conn: Connection, user: str, *, shown: bool = True) -> Player:
    """Returns the player. Raises Trouble when nobody or more than one can be meant.

    shown: also a guest's or studio's player's name, which proves nothing.
    """
    from board.player import find_players, read_player

    if not _is_text(user):
        found = []
    elif user.startswith(IS_ID):
        found = [one for one in [await read_player(conn, user.removeprefix(IS_ID))] if one is not None]
    else:
        found = await find_players(conn, user, shown=shown)
    if not found:
        raise Trouble(
            f"There is no player with the id or the name {user!r}.",
            "Give the whole name, or the user id that boards show beside it.",
        )
    if len(found) > 1:
        ids = ", ".join(IS_ID + one.user_id for one in found)
        raise Trouble(f"{user!r} is the id or the name of several players.", f"Name one by the id: {ids}.")
    return found[0]


async def find_user_id(data: Path, user: str) -> str:
    """Returns the user id for AdminService; of another deployment than the mesh of `data`, what was given is the id."""
    if os.environ.get(URL_VARIABLE):
        return user.removeprefix(IS_ID)
    async with open_postgres(data) as pool, pool.acquire() as conn:
        return (await find_player(conn, user)).user_id


def _is_text(user: str) -> bool:
    # What the terminal could not decode comes as surrogates, which no database takes.
    return not any("\ud800" <= character <= "\udfff" for character in user)
