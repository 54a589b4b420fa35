"""Keeps the player's session for the next command, in a file of the user's own (mode 0600). It is never printed.

$XDG_STATE_HOME/scoreboard/session.json: ~/.local/state by the XDG Base Directory Specification where that is not set.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from scoreboard.client import Session
from scoreboard.local.trouble import Trouble

LOG_IN = "Log in: scoreboard login NAME (or make an account: scoreboard register NAME)."


@dataclass(frozen=True)
class Kept:
    """A session, whose it is, and the gateway that gave it."""

    gateway: str
    username: str
    session: Session = field(repr=False)


def path() -> Path:
    """Return where it is."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The specification has a relative one ignored.
    home = state if state.is_absolute() else Path.home() / ".local" / "state"
    return home / "scoreboard" / "session.json"


def read() -> Kept | None:
    """Return what is kept, None for nothing. Raises Trouble for a file that cannot be read."""
    file = path()
    try:
        found = json.loads(file.read_text())
        return Kept(found["gateway"], found["username"], ParseDict(found["session"], Session()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, ParseError) as error:
        raise Trouble(f"The kept session cannot be read: {error}", f"Remove {file}, then log in again.") from error


def keep(kept: Kept) -> None:
    """Replace what is kept. Raises Trouble."""
    values = {"gateway": kept.gateway, "username": kept.username, "session": MessageToDict(kept.session)}
    try:
        path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file of this command's own (mode 0600) first: two commands may renew the tokens at once.
        with NamedTemporaryFile("w", dir=path().parent, prefix="session.", delete=False) as part:
            json.dump(values, part, indent=2)
        os.replace(part.name, path())
    except OSError as error:
        raise Trouble(f"The session cannot be kept: {error}", f"Look at the rights of {path().parent}.") from error


def forget() -> None:
    """Remove what is kept, if anything is. Raises Trouble."""
    try:
        path().unlink(missing_ok=True)
    except OSError as error:
        raise Trouble(f"The kept session cannot be removed: {error}", f"Remove {path()}.") from error
