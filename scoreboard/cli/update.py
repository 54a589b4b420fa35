"""`scoreboard update`: sends one action, which counts once."""

from __future__ import annotations

from typing import Annotated

import typer

from scoreboard.cli.live_board import plain
from scoreboard.cli.options import AsJson
from scoreboard.cli.plain import print_json
from scoreboard.cli.player import Gateway, address, connected, trouble
from scoreboard.client import ScoreboardError, Status
from scoreboard.local.trouble import Trouble


def update(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What you did; the catalogue says its points.")],
    nonce: Annotated[
        str,
        typer.Option(
            envvar="SCOREBOARD_NONCE",
            help="The nonce of a try without an answer: whatever became of that, it counts once.",
            show_default=False,
        ),
    ] = "",
    gateway: Gateway = "",
    as_json: AsJson = False,
) -> None:
    """Count one action of yours, and tell the score after it."""
    with connected(gateway) as client:
        try:
            done = client.score(action, nonce=nonce)
        except ScoreboardError as error:
            if error.is_unknown:
                what = f"It is unknown whether {action} counted. {trouble(error, address(gateway)).what}"
                raise Trouble(what, f"Settle it: scoreboard update {action} --nonce {error.nonce}") from error
            raise
    if as_json:
        print_json(done)
    elif done.status is Status.APPLIED:
        print(f"{action} counts {done.points:+,}: {plain(done.username)} has {done.new_score:,} points.")
    else:
        print(f"{action} is accepted and not yet counted: {done.update_id}")
