"""Takes a password from a terminal that does not show it, or from a file; never from arguments, which all can read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from scoreboard.local.trouble import Trouble

PasswordFile = Annotated[
    Path | None,
    typer.Option(envvar="SCOREBOARD_PASSWORD_FILE", help="Take the password from this file's first line; - is stdin."),
]


def take(file: Path | None, *, twice: bool = False, cure: str = "Give --password-file FILE (- is stdin).") -> str:
    """Return the password. twice: a new one, which is asked for again. Raises Trouble where nobody can be asked."""
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        raise Trouble("There is no terminal to ask for a password.", cure)
    again = "The same again" if twice else False
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=again, err=True))


def _first_line(file: Path) -> str:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(
            f"{file} cannot be read: {error}", "Name a text file whose first line is the password."
        ) from error
    return text.partition("\n")[0].removesuffix("\r")
