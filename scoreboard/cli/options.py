"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA = Path(".scoreboard")

Data = Annotated[Path, typer.Option(envvar="SCOREBOARD_DATA", help="The folder that holds all state of the mesh.")]
AsJson = Annotated[bool, typer.Option("--json", envvar="SCOREBOARD_JSON", help="Print JSON, for programs.")]
