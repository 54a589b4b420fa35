"""What the player's commands share: which gateway, whose session, and what to do about an error.

Holds always: a session is only ever shown to the gateway that gave it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from scoreboard.cli import session_file
from scoreboard.cli.session_file import LOG_IN, Kept
from scoreboard.client import ScoreboardError, Session, SyncClient
from scoreboard.client.connection import parse_gateway
from scoreboard.local.trouble import Trouble

GATEWAY = "http://127.0.0.1:8080"  # of `scoreboard up`
DEADLINE_S = 10.0  # longer than a service's restart; shorter than a person's patience

Gateway = Annotated[
    str,
    typer.Option(
        envvar="SCOREBOARD_GATEWAY",
        help=f"The gateway's address; without one it is where you are logged in, else {GATEWAY}.",
        show_default=False,
    ),
]
Board = Annotated[str, typer.Option(envvar="SCOREBOARD_BOARD", help="The board's name; scoreboard boards lists them.")]
Period = Annotated[
    str,
    typer.Option(
        envvar="SCOREBOARD_PERIOD",
        help="A label such as 2026-W48, or previous; without one it is the current period.",
        show_default=False,
    ),
]

_CURES = {
    "TOKEN_INVALID": LOG_IN,
    "TOKEN_EXPIRED": LOG_IN,
    "SESSION_REVOKED": LOG_IN,
    "BAD_CREDENTIALS": "Look at the name and the password; scoreboard register NAME makes an account.",
    "USERNAME_TAKEN": "Choose another name, or log in: scoreboard login NAME.",
    "UNKNOWN_BOARD": "scoreboard boards lists the boards and their periods.",
    "UNKNOWN_USER": "Give the user id that boards show, and a board on which the player has an entry.",
    "UNKNOWN_ACTION": "Whoever runs this scoreboard knows the actions of its catalogue.",
}


def address(gateway: str) -> str:
    """Return the gateway's address. Raises Trouble for a kept session that cannot be read."""
    if gateway:
        return gateway
    kept = session_file.read()
    return kept.gateway if kept else GATEWAY


def is_at(kept: Kept, gateway: str) -> bool:
    """Tell whether the kept session is of this gateway, however its address is written."""
    try:
        return parse_gateway(kept.gateway) == parse_gateway(gateway)
    except ValueError:
        return False


@contextmanager
def connected(gateway: str, new_username: str = "") -> Iterator[SyncClient]:
    """Yields a client at the gateway, with the kept session of this gateway; keeps the tokens that it gets.

    new_username: whose session begins in the block, in place of the kept one. Raises Trouble, also for what the calls
    of the block meet.
    """
    at, kept = address(gateway), session_file.read()
    own = kept if kept is not None and is_at(kept, at) and not new_username else None

    def keep(session: Session | None) -> None:
        if session is None:
            session_file.forget()
        else:
            session_file.keep(Kept(at, own.username if own else new_username, session))

    try:
        client = SyncClient(at, deadline_s=DEADLINE_S, on_session=keep)
    except ValueError as error:
        raise Trouble(f"{error}.", "Give --gateway, or set SCOREBOARD_GATEWAY.") from error
    with client:
        if own is not None:
            client.resume(own.session)
        try:
            yield client
        except ScoreboardError as error:
            raise trouble(error, at) from error


def own_id(client: SyncClient) -> str:
    """Return the user id of whoever is logged in; empty: nobody is."""
    try:
        return client.user_id
    except ScoreboardError:
        return ""


def trouble(error: ScoreboardError, gateway: str) -> Trouble:
    """Return the server's sentence, and what to do about it."""
    if error.reason == "TOKEN_MISSING":
        return Trouble(f"You are not logged in at {gateway}.", LOG_IN)
    if not error.reason:
        what = f"The gateway {gateway} does not answer: {error.message or error.code.name}"
        return Trouble(what, "Is the address right (--gateway), and is it up (scoreboard status)?")
    again = f"Try again in {error.retry_after_s:.0f} s." if error.retry_after_s else f"Reason: {error.reason}"
    return Trouble(error.message, _CURES.get(error.reason, again))
