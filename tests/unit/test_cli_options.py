"""The command line's own promises: each option can be set by the environment, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from scoreboard.cli import app


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name), (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_a_variable_of_ours(path: tuple[str, ...]) -> None:
    options = [one for one in COMMANDS[path].params if one.param_type_name == "option"]
    assert {one.name: one.envvar for one in options if not str(one.envvar).startswith("SCOREBOARD_")} == {}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_the_variables(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    for one in COMMANDS[path].params:
        if one.param_type_name == "option":
            assert f"[env var: {one.envvar}]" in shown.output


@pytest.mark.parametrize("option", ["--players", "--seconds"])
def test_a_demo_of_nobody_or_of_no_time_is_a_mistake(option: str) -> None:
    shown = CliRunner().invoke(app, ["demo", option, "0"], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert shown.exit_code == 2
    assert option in shown.output
