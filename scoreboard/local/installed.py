"""Finds the programs that set-up installed: in wheels and in Debian packages."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

from scoreboard.local.trouble import Trouble

SETUP_CURE = "Run `make setup`; it installs what is missing and says what it does."


def wheel_file(distribution: str, ending: str) -> Path:
    """Return a file of an installed wheel by the end of its path.

    By metadata and not by import: our own folder `envoy/` has the name of the wheel's package.
    Raises Trouble when the wheel or the file is missing.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise Trouble(f"The package {distribution} is not installed.", SETUP_CURE) from error
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate())).resolve()
    raise Trouble(f"The package {distribution} has no {ending}.", SETUP_CURE)


def debian_program(name: str, package: str) -> str:
    """Return the path of a program that Debian installs. Raises Trouble when it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin")
    if found is None:
        raise Trouble(f"{name} is missing (Debian package {package}).", SETUP_CURE)
    return found
