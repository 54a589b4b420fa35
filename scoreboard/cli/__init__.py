"""The command line: `scoreboard COMMAND`. Every command is a module here, and one line in COMMANDS.

A command's module is imported when it is called, so that a player's `scoreboard top` needs no server's package.
Data goes to stdout, notes to stderr; what went wrong is a sentence and its cure, with exit status 1.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from scoreboard.local.trouble import Trouble

# command → "module:attribute"; the attribute is a function with typer's annotations, or a typer.Typer
COMMANDS = {
    "up": "scoreboard.cli.up:up",
    "status": "scoreboard.cli.status:status",
    "down": "scoreboard.cli.down:down",
    "demo": "scoreboard.cli.demo:demo",
    "verify": "scoreboard.cli.verify:verify",
    "apply": "scoreboard.cli.apply:apply",
    "clients": "scoreboard.cli.clients:clients",
}


class _Lazy(TyperGroup):
    """Finds commands in COMMANDS and imports each when it is called or described."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(cmd_name)(found)
            found = app
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Lazy,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a plain traceback of what nobody foresaw is shorter, and shows no locals
)


@app.callback()
def scoreboard() -> None:
    """A real-time leaderboard: run it on this machine, play, watch, and operate it."""


def main() -> None:
    """Run the command line; the entry point of `scoreboard`."""
    # The client's library logs each repeat: of use to a program, noise between the lines of a command.
    logging.getLogger("stamina").addHandler(logging.NullHandler())
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "scoreboard":
            raise
        print(f"This command needs the package {error.name}, which is not installed.", file=sys.stderr)
        print("Run it in a checkout after `make setup`.", file=sys.stderr)
        sys.exit(1)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        sys.exit(1)
