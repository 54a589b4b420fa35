"""`scoreboard audit`: whether the ledger is as it was sealed, and a copy of it for others to check."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.owner import open_postgres
from scoreboard.cli.plain import at
from scoreboard.local import seal_key
from scoreboard.local.trouble import Trouble

if TYPE_CHECKING:
    from board.audit import Audit
    from board.seal import Seal, TrustedKeys

SHOWN_MAX = 20  # differences for people; --json has all
KEY_CURE = "Give the public keys with --keys FILE (PEM); a local mesh has them in DIR/audit/public.pem."

audit = typer.Typer(no_args_is_help=True, add_completion=False, help="Prove that the ledger is as it was sealed.")

Keys = Annotated[
    Path | None,
    typer.Option(envvar="SCOREBOARD_AUDIT_KEYS", help="Public keys in PEM, by default DIR/audit/public.pem."),
]
Published = Annotated[
    list[Path] | None,
    typer.Option(
        "--published",
        envvar="SCOREBOARD_AUDIT_PUBLISHED",
        help="Files of published seals, or of workers' logs; by default DIR/audit/seals.jsonl.",
    ),
]


@audit.callback()
def _audit() -> None:
    """Prove that the ledger is as it was sealed."""


@audit.command()
def verify(
    file: Annotated[
        Path | None, typer.Option(envvar="SCOREBOARD_AUDIT_FILE", help="Check this export, not the database.")
    ] = None,
    rows_from: Annotated[
        int, typer.Option(min=1, envvar="SCOREBOARD_AUDIT_ROWS_FROM", help="Compare rows from this seal on.")
    ] = 1,
    keys: Keys = None,
    published: Published = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Compare every sealed row with its seal, and the seals with the published ones; exit 1 when something differs."""
    trusted, known = _keys(keys, data), _published(published, data)
    with Console(stderr=True, quiet=as_json).status("Reading seals") as status:

        def tell(so_far: Audit) -> None:
            status.update(f"Seal {so_far.seals:,}, {so_far.rows:,} rows")

        if file is not None:
            found = _check_file(file, trusted, known)
        else:
            found = asyncio.run(_check(data, trusted, known, rows_from, tell))
    if as_json:
        print(json.dumps({"ok": not found.differences, **asdict(found)}, default=lambda instant: instant.isoformat()))
    else:
        _show(found, is_database=file is None)
    raise typer.Exit(1 if found.differences else 0)


@audit.command()
def export(
    file: Annotated[Path, typer.Argument(help="JSON lines; a name that ends in .gz is compressed.")],
    since: Annotated[int, typer.Option(min=1, envvar="SCOREBOARD_AUDIT_SINCE", help="The first seal.")] = 1,
    until: Annotated[
        int | None, typer.Option(min=1, envvar="SCOREBOARD_AUDIT_UNTIL", help="The last seal, by default the newest.")
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write seals and their rows to a file, which `audit verify --file` checks without the database."""
    with Console(stderr=True).status("Reading seals") as status, _readable(file):
        seals, rows = asyncio.run(_export(data, file, since, until, lambda count: status.update(f"Seal {count:,}")))
    print(f"{seals} seals with {rows} rows are in {file}.")


async def _check(
    data: Path, keys: TrustedKeys, known: list[Seal], rows_from: int, tell: Callable[[Audit], None]
) -> Audit:
    from board.audit import check

    async with open_postgres(data) as pool:
        return await check(pool, keys, known, rows_from=rows_from, tell=tell)


async def _export(
    data: Path, file: Path, since: int, until: int | None, tell: Callable[[int], None]
) -> tuple[int, int]:
    from board.audit_file import export as write

    async with open_postgres(data) as pool:
        return await write(pool, file, since=since, until=until, tell=tell)


def _check_file(file: Path, keys: TrustedKeys, known: list[Seal]) -> Audit:
    from board.audit_file import NotExported, check_file

    try:
        with _readable(file):
            return check_file(file, keys, known)
    except NotExported as error:
        raise Trouble(f"{error}.", "Make one with scoreboard audit export FILE.") from error


def _keys(given: Path | None, data: Path) -> TrustedKeys:
    from board.seal import TrustedKeys

    path = given or seal_key.public_file(data)
    try:
        return TrustedKeys.load(path)
    except (OSError, ValueError) as error:
        raise Trouble(f"There are no keys to trust: {error}", KEY_CURE) from error


def _published(given: list[Path] | None, data: Path) -> list[Seal]:
    from board.audit_file import read_seals

    own = seal_key.seals_file(data)
    files = given or ([own] if own.exists() else [])
    seals = []
    for path in files:
        with _readable(path):
            seals += read_seals(path)
    return seals


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise Trouble(f"{path} cannot be used: {error.strerror}", "Look at its name and rights.") from error


def _show(found: Audit, *, is_database: bool) -> None:
    until = f" up to {at(found.sealed_at)}" if found.sealed_at is not None else ""
    print(f"{found.rows} rows under {found.seals} seals{until}; compared with {found.published} published seals")
    if found.archived:
        print(f"{found.archived} of the rows are archived: their seals hold, and what they were is not here")
    if is_database and found.unsealed_since is not None:
        print(f"{found.unsealed} later rows are not sealed yet, the oldest of {at(found.unsealed_since)}")
    if not found.differences:
        print("No sealed row was changed, removed, added or moved; every seal is signed and in its place.")
        return
    table = Table("seal", "row", "what")
    for one in found.differences[:SHOWN_MAX]:
        table.add_row(str(one.seal_no or ""), one.row, one.what)
    Console().print(table)
    print(f"{len(found.differences)} differences")
