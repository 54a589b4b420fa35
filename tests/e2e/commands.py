"""`scoreboard …` in this process, as `main` runs it, without the second that a process of its own takes to start."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from typer.testing import CliRunner

from scoreboard.cli import app
from scoreboard.local.trouble import Trouble
from tests.meshes import Done, Mesh


async def cli(mesh: Mesh | None, *arguments: str, typed: str | None = None, **environment: str) -> Done:
    """Run a command to its end; its options may come by the environment."""
    data = {} if mesh is None else {"SCOREBOARD_DATA": str(mesh.data)}
    env = {"COLUMNS": "200", "NO_COLOR": "1"} | data | environment
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=typed, env=env)
    if isinstance(result.exception, Trouble):
        return Done(1, result.stdout, f"{result.stderr}{result.exception}\n")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


async def told(mesh: Mesh | None, *arguments: str, **environment: str) -> Any:
    """What a command that succeeds prints with --json."""
    done = await cli(mesh, *arguments, "--json", **environment)
    assert done.code == 0, done.out + done.err
    return json.loads(done.out)
