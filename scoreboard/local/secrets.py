"""The secrets of a local mesh: made once at its first start, 0600, and never shown."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from scoreboard.local.accounts import BROKER_ACCOUNTS, LOCAL_ACCOUNTS, SERVICES
from scoreboard.local.files import write_private
from scoreboard.local.postgres import SUPERUSER
from scoreboard.local.trouble import Trouble

MASTER_KEY_BYTES = 32  # as long as the SHA-256 that HKDF and HMAC are built on
OPERATOR_SECRET_BYTES = 32  # as mesh/client_secret.py makes them
PASSWORD_BYTES = 24

T = TypeVar("T")


@dataclass(frozen=True)
class Secrets:
    """Passwords by account, one set a server. erlang_cookie: lets rabbitmqctl into the node.

    operator: of the trusted client accounts.OPERATOR, by which the command line comes to AdminService.
    """

    postgres: dict[str, str]
    redis: dict[str, str]
    rabbitmq: dict[str, str]
    erlang_cookie: str
    operator: str


def password_file(data: Path, server: str, account: str) -> Path:
    """Return where a service finds its password of a server: `postgres`, `redis` or `rabbitmq`."""
    return data / "passwords" / f"{account}.{server}"


def hand_out(data: Path, server: str, *passwords: Mapping[str, str]) -> None:
    """Write the services' passwords of a server where they find them; several, while they are replaced: newest first.

    Raises OSError.
    """
    (data / "passwords").mkdir(mode=0o700, exist_ok=True)
    for account in SERVICES:
        lines = [known[account] for known in passwords if account in known]
        if lines:
            write_private(password_file(data, server, account), "\n".join(lines) + "\n")


def keep(data: Path, server: str, passwords: Mapping[str, str]) -> None:
    """Write other passwords of a server to the mesh's secrets. Raises OSError."""
    _write(data / "secrets.json", {**asdict(load(data)), server: dict(passwords)})


def load(data: Path) -> Secrets:
    """Return the mesh's secrets, made when they are not there. Raises Trouble for a file that is damaged."""
    path = data / "secrets.json"
    known = _load_or_make(path, _make, lambda values: values)
    try:
        whole = _completed(known)
        found = Secrets(**whole)
    except (KeyError, TypeError) as error:
        raise _damaged(path) from error
    if whole != known:
        _write(path, whole)
    return found


def master_keys_file(data: Path) -> Path:
    """Return the file of the master keys, made when it is not there. Raises Trouble when it is damaged."""
    path = data / "master-keys.json"
    _load_or_make(path, new_master_keys, lambda values: values["keys"][str(values["current"])])
    return path


def _load_or_make(path: Path, make: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> T:
    if not path.exists():
        _write(path, make())
    try:
        return read(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> Trouble:
    cure = "Restore it from a copy; without it this data folder's sessions and servers cannot be opened."
    return Trouble(f"{path} is damaged.", cure)


def _write(path: Path, values: dict[str, Any]) -> None:
    write_private(path, json.dumps(values, indent=2) + "\n")


def _make() -> dict[str, Any]:
    return {
        "postgres": new_passwords((SUPERUSER, *LOCAL_ACCOUNTS)),
        "redis": new_passwords(LOCAL_ACCOUNTS),
        "rabbitmq": new_passwords(BROKER_ACCOUNTS),
        "erlang_cookie": secrets.token_hex(24),
        "operator": new_operator_secret(),
    }


def _completed(known: dict[str, Any]) -> dict[str, Any]:
    """Return what a data folder keeps, with what an older version had no need of."""
    # Never the superuser's password: that one is set when Postgres' folder is made, and by nothing else.
    made = {
        "postgres": new_passwords(LOCAL_ACCOUNTS),
        "redis": new_passwords(LOCAL_ACCOUNTS),
        "rabbitmq": new_passwords(BROKER_ACCOUNTS),
    }
    return {
        "operator": new_operator_secret(),
        **known,
        **{server: {**fresh, **known[server]} for server, fresh in made.items()},
    }


def new_passwords(accounts: tuple[str, ...]) -> dict[str, str]:
    """Return a new password for each account."""
    return {account: new_password() for account in accounts}


def new_password() -> str:
    """Return a new password of a server's account."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def new_operator_secret() -> str:
    """Return a new secret of the trusted client accounts.OPERATOR."""
    return secrets.token_urlsafe(OPERATOR_SECRET_BYTES)


def new_master_key() -> str:
    """Return a master key as its file has it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).rstrip(b"=").decode()


def new_master_keys() -> dict[str, Any]:
    """Return a file of master keys with one key."""
    return {"current": 1, "keys": {"1": new_master_key()}}
