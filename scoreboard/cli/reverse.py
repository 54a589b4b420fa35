"""`scoreboard reverse`: takes an applied update back, from every board and period that its points went to."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from scoreboard.cli.ask import Reason, ask
from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.plain import print_json, row_line
from scoreboard.v1 import admin_pb2


def reverse(
    update: Annotated[
        UUID, typer.Argument(metavar="UPDATE", help="The update's id, as its answer and explain say it.")
    ],
    reason: Reason,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Take an applied update back: once, however often it is asked for. The ledger gets a row that says so."""
    request = admin_pb2.ReverseUpdateRequest(update_id=str(update), reason=reason)
    row = ask(data, lambda stub: stub.ReverseUpdate, request)
    if as_json:
        print_json(row)
    else:
        print(row_line(row))
