"""Looks at the machine: room on the disk, who may read the secrets, and whether clocks agree."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from scoreboard.cli.checks.finding import Finding, failed, ok, warning

FREE_BYTES_MIN = 300 * 1024**2  # what `scoreboard up` asks for
FREE_BYTES_FEW = 2 * 1024**3  # some days of a busy ledger
OFFSET_MAX_S = 1.0
#: Files under DIR that hold passwords or keys; those of servers come with their first start.
SECRET_FILES = (
    "secrets.json",
    "passwords/*",
    "master-keys.json",
    "audit/key.pem",
    "mesh.json",
    "demo-players.json",
    "redis/users.acl",
    "rabbitmq/definitions.json",
    "rabbitmq/.erlang.cookie",
)


def check(data: Path) -> list[Finding]:
    """Looks at the disk and the files of a mesh's folder."""
    return [disk(shutil.disk_usage(data).free), secret_files(data)]


def disk(free_bytes: int) -> Finding:
    """Judges the room where DIR is."""
    check, found = "disk space", f"{free_bytes / 1024**3:.1f} GB are free where the data folder is"
    cure = "Make room: Postgres stops, and RabbitMQ refuses updates, when there is none left."
    if free_bytes < FREE_BYTES_MIN:
        return failed(check, found, cure)
    return warning(check, found, cure) if free_bytes < FREE_BYTES_FEW else ok(check, found)


def secret_files(data: Path) -> Finding:
    """Looks at who may read the files with passwords and keys."""
    there = [path for name in SECRET_FILES for path in sorted(data.glob(name))]
    open_ones = [path for path in there if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if not open_ones:
        return ok("secret files", f"{len(there)} files, read by their owner alone")
    names = " ".join(map(str, open_ones))
    cure = f"chmod go= {names}; if others have accounts here, take what was in them for known."
    return failed("secret files", f"others may read {names}", cure)


def clock(server: str, ahead_s: float, doubt_s: float) -> Finding:
    """Judges a server's clock. ahead_s: of this machine's, give or take doubt_s."""
    check, found = f"clock of {server}", f"{ahead_s:+.3f} s against this machine's"
    if abs(ahead_s) - doubt_s <= OFFSET_MAX_S:
        return ok(check, found)
    cure = "Set the clocks by NTP: Redis' clock stamps updates, and a wrong one moves points into another day."
    return warning(check, found, cure)
