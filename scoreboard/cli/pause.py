"""`scoreboard pause` and `resume`: let the workers rest, for work on the database, and go on."""

from __future__ import annotations

from pathlib import Path

from scoreboard.cli.ask import Reason, ask
from scoreboard.cli.options import DEFAULT_DATA, AsJson, Data
from scoreboard.cli.plain import print_json
from scoreboard.v1 import admin_pb2


def pause(reason: Reason, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Let the workers rest: updates are accepted meanwhile, and wait."""
    _set(data, True, reason, as_json)


def resume(reason: Reason, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Let the workers go on: what waited is applied, each update in the period of its acceptance."""
    _set(data, False, reason, as_json)


def _set(data: Path, paused: bool, reason: str, as_json: bool) -> None:
    request = admin_pb2.SetPausedRequest(paused=paused, reason=reason)
    done = ask(data, lambda stub: stub.SetPaused, request)
    if as_json:
        print_json(done)
    else:
        print("The workers rest, each within a second; updates wait." if done.paused else "The workers work.")
