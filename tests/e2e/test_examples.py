"""The programs of examples/, run against a whole mesh; every public name of the client is in one of them."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import re
import runpy
import secrets
import shlex
import sys
import textwrap
from enum import Enum
from pathlib import Path

import grpc
import pytest

from scoreboard import client
from scoreboard.client import Client, ScoreboardError, SyncClient
from tests.e2e.commands import cli
from tests.e2e.pages import assert_shows, read_blocks, shown_after
from tests.meshes import TREE, Mesh

EXAMPLES = sorted((TREE / "examples").glob("*.py"))
PAGE = TREE / "docs" / "clients.md"


def printed_by(program: Path | str, mesh: Mesh, patch: pytest.MonkeyPatch) -> str:
    """What a program prints; it is run as `python FILE GATEWAY` does, but for the second that a process takes."""
    patch.setattr(sys, "argv", ["example", mesh.url.removeprefix("http://")])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if isinstance(program, Path):
            runpy.run_path(str(program), run_name="__main__")
        else:
            exec(compile(program, PAGE.name, "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda program: program.stem)
def test_an_example_prints_what_it_says(running: Mesh, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = printed_by(program, running, monkeypatch)
    doc = ast.get_docstring(ast.parse(program.read_text())) or ""
    shown = textwrap.dedent(doc.partition("Prints")[2].partition("\n\n")[2])
    assert shown
    names = re.compile(r"\b(ada|bo|cleo|eve|u|Guest)[-_ ][0-9A-Za-z]+|\b(ada|bo|cleo)\b")
    for line in shown.splitlines():
        if not line.startswith(" "):  # rows are those of whoever else plays
            assert_shows(printed, names.sub("…", line), any_figures=True)


@pytest.mark.parametrize("number", range(2))
def test_the_guide_s_programs_run(running: Mesh, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [block.text for block in read_blocks(PAGE.read_text()) if block.language == "python"]
    assert len(programs) == 2
    printed = printed_by(programs[number].replace("127.0.0.1:8080", running.url), running, monkeypatch)
    assert re.search((r"has 50\n\[\(1, ", r"^1\n")[number], printed)


async def test_the_guide_s_commands_print_what_it_shows(
    running: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("SCOREBOARD_GATEWAY", running.url)
    typed = secrets.token_urlsafe() + "\n"
    await cli(None, "register", f"g-{secrets.token_hex(6)}", "--password-file", "-", typed=typed)
    blocks = read_blocks(PAGE.read_text())
    commands = next(block.text for block in blocks if block.text.startswith("scoreboard "))
    printed = ""
    for line in commands.splitlines():
        done = await cli(None, *shlex.split(line)[1:])
        assert (done.code, done.err) == (0, "")
        printed += done.out
    assert_shows(printed, shown_after(blocks, commands))


def test_links_of_the_guide_lead_somewhere() -> None:
    for page in (PAGE, TREE / "examples" / "README.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / target).exists(), target


def test_every_public_name_is_in_an_example() -> None:
    used: set[str] = set()
    for program in EXAMPLES:
        for node in ast.walk(ast.parse(program.read_text())):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.keyword | ast.alias):
                used.add(str(node.arg if isinstance(node, ast.keyword) else node.name))
    assert surface() - used == set()


def surface() -> set[str]:
    """The public names: what the module exports, its classes' members, and arguments that can only be named."""
    found = set(client.__all__)
    for kind in (getattr(client, name) for name in client.__all__):
        if dataclasses.is_dataclass(kind):
            found |= {field.name for field in dataclasses.fields(kind)}
        elif isinstance(kind, type) and issubclass(kind, Enum):
            found |= set(kind.__members__)
        elif kind in (Client, SyncClient):
            found |= {name for name in dir(kind) if not name.startswith("_")} - {"close"}  # `with` closes
            members = [kind.__init__, *(getattr(kind, name) for name in dir(kind) if not name.startswith("_"))]
            for member in filter(inspect.isfunction, members):
                parameters = inspect.signature(member).parameters.values()
                found |= {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    return found | set(vars(ScoreboardError("", "", grpc.StatusCode.OK)))
