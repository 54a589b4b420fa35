"""The command line: `scoreboard COMMAND`. Every command is a module here, and one line in COMMANDS.

A command's module is imported when it is called or listed; a player's need no server's package, and run without.
Data goes to stdout, notes to stderr; what went wrong is a sentence and its cure, with exit status 1.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from scoreboard.local.trouble import Trouble

# command → "module:attribute"; the attribute is a function with typer's annotations, or a typer.Typer
COMMANDS = {
    "up": "scoreboard.cli.up:up",
    "status": "scoreboard.cli.status:status",
    "down": "scoreboard.cli.down:down",
    "demo": "scoreboard.cli.demo:demo",
    "verify": "scoreboard.cli.verify:verify",
    "audit": "scoreboard.cli.audit:audit",
    "register": "scoreboard.cli.login:register",
    "login": "scoreboard.cli.login:login",
    "logout": "scoreboard.cli.login:logout",
    "update": "scoreboard.cli.update:update",
    "top": "scoreboard.cli.top:top",
    "boards": "scoreboard.cli.top:boards",
    "rank": "scoreboard.cli.rank:rank",
    "watch": "scoreboard.cli.watch:watch",
    "migrate": "scoreboard.cli.migrate:migrate",
    "apply": "scoreboard.cli.apply:apply",
    "backup": "scoreboard.cli.backup:backup",
    "restore": "scoreboard.cli.backup:restore",
    "clients": "scoreboard.cli.clients:clients",
    "doctor": "scoreboard.cli.doctor:doctor",
    "explain": "scoreboard.cli.explain:explain",
    "admin": "scoreboard.cli.admin:admin",
    "user": "scoreboard.cli.user:user",
    "reverse": "scoreboard.cli.reverse:reverse",
    "dead-letters": "scoreboard.cli.dead_letters:dead_letters",
    "rebuild": "scoreboard.cli.rebuild:rebuild",
    "pause": "scoreboard.cli.pause:pause",
    "resume": "scoreboard.cli.pause:resume",
    "secrets": "scoreboard.cli.secrets:secrets",
    "route": "scoreboard.cli.route:route",
}


class _Lazy(TyperGroup):
    """Finds commands in COMMANDS and imports each when it is called or described."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "scoreboard":
                raise
            return _missing(cmd_name, error)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(cmd_name)(found)
            found = app
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


def _missing(name: str, error: ModuleNotFoundError) -> TyperCommand:
    """Returns a command that says, when it is called, what it needs: the others are listed and run without that."""

    def say() -> None:
        raise error

    rest = {"allow_extra_args": True, "ignore_unknown_options": True}
    return TyperCommand(name, callback=say, help="(Needs a checkout after `make setup`.)", context_settings=rest)


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a plain traceback of what nobody foresaw is shorter, and shows no locals
)


@app.callback()
def scoreboard() -> None:
    """A real-time leaderboard: run it on this machine, play, watch, and operate it."""


def main() -> None:
    """Run the command line; the entry point of `scoreboard`."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "scoreboard":
            raise
        print(f"This command needs the package {error.name}, which is not installed.", file=sys.stderr)
        print("Run it in a checkout after `make setup`.", file=sys.stderr)
        sys.exit(1)
    except Trouble as trouble:
        from scoreboard.cli.plain import printable

        print(printable(trouble), file=sys.stderr)  # it may hold a server's words
        sys.exit(1)
