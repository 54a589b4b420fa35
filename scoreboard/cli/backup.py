"""`scoreboard backup` and `scoreboard restore`: the truth of a local mesh in one file, and back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scoreboard.cli.options import DEFAULT_DATA, Data
from scoreboard.cli.owner import check_here
from scoreboard.cli.up import open_folder
from scoreboard.local import state
from scoreboard.local.trouble import Trouble

File = Annotated[Path, typer.Argument(help="A file in pg_dump's custom form.")]


def backup(file: File, data: Data = DEFAULT_DATA) -> None:
    """Write the database of a running mesh to a file: players, ledger, boards, seals, as they are at one instant.

    Keys and passwords are in DIR, not in the file: keep a copy of master-keys.json, secrets.json and audit/ apart.
    """
    from scoreboard.local.backup import back_up

    check_here()
    with Console(stderr=True).status("Writing the database"):
        size = back_up(state.postgres_url(data), file)
    print(f"{file} is written: {size / 1024**2:,.1f} MB.")


def restore(
    file: File,
    yes: Annotated[bool, typer.Option("--yes", envvar="SCOREBOARD_YES", help="Do not ask.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Put the database of a file in place of the one of a mesh that is down; what came after the backup is gone.

    The one that there was is kept beside it. The next `scoreboard up` brings the tables to its version and builds the
    boards from them.
    """
    from scoreboard.local.backup import restore as make_anew

    if (data / "postgres").exists() and not yes:
        if not sys.stdin.isatty():
            raise Trouble("There is a database already.", "Say that its place may be taken: --yes.")
        typer.confirm(f"Put {file} in place of the database under {data}?", abort=True)
    lock = open_folder(data.absolute())
    try:
        made = asyncio.run(make_anew(data.absolute(), file, print))
    finally:
        lock.close()
    if made.before is not None:
        print(f"The database that there was is kept: {made.before}")
    if made.seals is not None:
        print(f"What was published of it too: {made.seals}")
    print("The database is restored. Next: scoreboard up")
