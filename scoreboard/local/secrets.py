"""The secrets of a local mesh: made once at its first start, 0600, and never shown."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scoreboard.local.accounts import ACCOUNTS, BROKER_ACCOUNTS
from scoreboard.local.files import write_private
from scoreboard.local.postgres import SUPERUSER
from scoreboard.local.trouble import Trouble

MASTER_KEY_BYTES = 32  # as long as the SHA-256 that HKDF and HMAC are built on

T = TypeVar("T")


@dataclass(frozen=True)
class Secrets:
    """Passwords by account, one set a server. erlang_cookie: lets rabbitmqctl into the node."""

    postgres: dict[str, str]
    redis: dict[str, str]
    rabbitmq: dict[str, str]
    erlang_cookie: str


def load(data: Path) -> Secrets:
    """Return the mesh's secrets, made when they are not there. Raises Trouble for a file that is damaged."""
    return _load_or_make(data / "secrets.json", _make, lambda values: Secrets(**values))


def master_keys_file(data: Path) -> Path:
    """Return the file of the master keys, made when it is not there. Raises Trouble when it is damaged."""
    path = data / "master-keys.json"
    _load_or_make(path, _make_master_keys, lambda values: values["keys"][str(values["current"])])
    return path


def _load_or_make(path: Path, make: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> T:
    if not path.exists():
        write_private(path, json.dumps(make(), indent=2) + "\n")
    try:
        return read(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        cure = "Restore it from a copy; without it this data folder's sessions and servers cannot be opened."
        raise Trouble(f"{path} is damaged.", cure) from error


def _make() -> dict[str, Any]:
    def passwords(accounts: tuple[str, ...]) -> dict[str, str]:
        return {account: secrets.token_urlsafe(24) for account in accounts}

    return {
        "postgres": passwords((SUPERUSER, *ACCOUNTS)),
        "redis": passwords(ACCOUNTS),
        "rabbitmq": passwords(BROKER_ACCOUNTS),
        "erlang_cookie": secrets.token_hex(24),
    }


def _make_master_keys() -> dict[str, Any]:
    key = base64.urlsafe_b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).rstrip(b"=").decode()
    return {"current": 1, "keys": {"1": key}}
