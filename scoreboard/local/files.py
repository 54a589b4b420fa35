"""Writes small files so that a reader finds the old text or the new one, and nobody else reads either."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all. Raises OSError."""
    making = path.with_name(path.name + ".new")
    making.unlink(missing_ok=True)
    making.touch(mode=0o600)
    with making.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)
