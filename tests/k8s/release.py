"""The release that manifests, image and compose.yaml are of: pyproject.toml's."""

from __future__ import annotations

import tomllib

from scripts.cluster import TREE

VERSION: str = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"]
