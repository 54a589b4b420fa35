"""Finds the account that a server runs as when we are root, and whether it reaches what it has to read."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from scoreboard.local import probe
from scoreboard.local.program import Account, Program


def account_of(*names: str) -> Account | None:
    """Return the first of these accounts that the machine has."""
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return None


def able(account: Account, *checks: Sequence[str]) -> Account | None:
    """Return the account when each of these commands succeeds as it, else the same with CAP_DAC_OVERRIDE.

    None: not even that helps.
    """
    for candidate in (account, replace(account, keeps_override=True)):
        if all(succeeds(candidate, *argv) for argv in checks):
            return candidate
    return None


def succeeds(account: Account, *argv: str) -> bool:
    """Whether a command ends well as this account."""
    command = Program("check", argv, 0, partial(probe.listens, 0), account=account).command()
    return subprocess.run(command, capture_output=True, cwd="/", check=False).returncode == 0
