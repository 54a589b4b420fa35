"""`scoreboard register`, `login` and `logout`: begin and end the session that the player's commands use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoreboard.cli import password, session_file
from scoreboard.cli.options import AsJson
from scoreboard.cli.password import PasswordFile
from scoreboard.cli.plain import print_json
from scoreboard.cli.player import Gateway, address, connected, is_at
from scoreboard.cli.session_file import LOG_IN
from scoreboard.local.trouble import Trouble

Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's username.")]


def register(name: Name, password_file: PasswordFile = None, gateway: Gateway = "", as_json: AsJson = False) -> None:
    """Make an account and log in; it asks twice for a password of 8 to 128 characters."""
    _begin(name, password_file, gateway, as_json, is_new=True)


def login(name: Name, password_file: PasswordFile = None, gateway: Gateway = "", as_json: AsJson = False) -> None:
    """Log in, and stay so for the next commands: the session is kept in a file of your own, and never printed."""
    _begin(name, password_file, gateway, as_json, is_new=False)


def logout(gateway: Gateway = "") -> None:
    """End the session, at the server too."""
    kept = session_file.read()
    if kept is None or not is_at(kept, address(gateway)):
        raise Trouble("You are not logged in.", LOG_IN)
    with connected(gateway) as client:
        client.logout()
    print(f"{kept.username} is logged out.")


def _begin(name: str, file: Path | None, gateway: str, as_json: bool, *, is_new: bool) -> None:
    at, word = address(gateway), password.take(file, twice=is_new)
    with connected(at, name) as client:
        session = client.register(name, word) if is_new else client.login(name, word)
    if as_json:
        print_json({"user_id": session.user_id, "username": name, "gateway": at})
    else:
        print(f"{name} ({session.user_id}) is logged in at {at}.")
