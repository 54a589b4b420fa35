"""`scoreboard apply`: puts scoreboard.toml in place of the catalogue of a running mesh."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoreboard.cli.options import DEFAULT_DATA, Data
from scoreboard.cli.owner import open_postgres
from scoreboard.local import accounts
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from board.catalogue_store import Applied


def apply(
    file: Annotated[Path, typer.Argument(help="The catalogue's file.")] = Path("scoreboard.toml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="SCOREBOARD_DRY_RUN", help="Show what would change, and change nothing.")
    ] = False,
    reason: Annotated[
        str, typer.Option(envvar="SCOREBOARD_REASON", help="Why, for the admin log.")
    ] = "applied on the command line",
    data: Data = DEFAULT_DATA,
) -> None:
    """Apply the catalogue of actions and boards: a diff, and the revision that holds then."""
    from board.catalogue import CatalogueError

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"{file} cannot be read: {error}", "Name the catalogue's file: scoreboard apply FILE.") from error
    try:
        applied = asyncio.run(_apply(data, text, dry_run, reason))
    except CatalogueError as error:
        raise Trouble(f"{file}: {error}", "Nothing was changed. Mend the file and apply it again.") from error
    for line in applied.changes:
        print(line)
    if not applied.changes:
        print(f"nothing changes; revision {applied.revision}")
    elif dry_run:
        print(f"not applied; revision {applied.revision} still holds")
    else:
        print(f"revision {applied.revision}")


async def _apply(data: Path, text: str, dry_run: bool, reason: str) -> Applied:
    from board.acts import apply_catalogue_and_log

    async with open_postgres(data) as pool, pool.acquire() as conn, conn.transaction():
        return await apply_catalogue_and_log(conn, text, actor=accounts.OPERATOR, reason=reason, dry_run=dry_run)
