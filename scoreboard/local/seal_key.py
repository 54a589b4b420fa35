"""The key that signs a local mesh's seals, and where they are published: DIR/audit, made at the first start.

Holds always: a key's public part is in public.pem before the key signs, and stays there, since old seals need it.
"""

from __future__ import annotations

from pathlib import Path

from scoreboard.local.files import write_private
from scoreboard.local.trouble import Trouble

CURE = "Restore it from a copy, or move the file away: the next start makes a new key, whose seals follow the old ones."


def make(data: Path) -> None:
    """Make the signing key when it is not there. Raises Trouble when it is damaged."""
    from board.seal import SealKey

    path = key_file(data)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        write_private(path, SealKey.new().private_pem)
    try:
        key = SealKey.load(path)
    except ValueError as error:
        raise Trouble(f"{path} is damaged: {error}", CURE) from error
    _trust(public_file(data), key.public_pem)


def key_file(data: Path) -> Path:
    """Return the file of the signing key."""
    return data / "audit" / "key.pem"


def public_file(data: Path) -> Path:
    """Return the file of the public keys that ever signed."""
    return data / "audit" / "public.pem"


def seals_file(data: Path) -> Path:
    """Return the file to which the workers publish seals."""
    return data / "audit" / "seals.jsonl"


def _trust(path: Path, pem: str) -> None:
    known = path.read_text() if path.exists() else ""
    if pem not in known:
        write_private(path, known + pem)
