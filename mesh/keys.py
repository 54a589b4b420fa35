"""Master keys of a deployment and what is derived from them (HKDF, RFC 5869).

Holds always: a derived key is a function of (master key, purpose, context) alone, so that every service that has the
master key derives the same and nothing is looked up.
"""

import base64
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


def b64url(data: bytes) -> str:
    """Returns base64url without padding (RFC 7515, appendix C)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64url_decode(text: str) -> bytes:
    """Returns the bytes of base64url without padding. Raises ValueError for anything else, sloppy spellings too."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url without padding")
    return data


@dataclass(frozen=True)
class MasterKeys:
    """The deployment's keys by id; new secrets use `current`, older ones stay good while they are listed."""

    current: int
    keys: dict[int, bytes]

    @classmethod
    def load(cls, path: Path) -> "MasterKeys":
        """Reads the file that docs/wiring.md describes. Raises ValueError when it is not of that form."""
        data = json.loads(path.read_text())
        keys = {int(key_id): b64url_decode(text) for key_id, text in data["keys"].items()}
        if data["current"] not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(f"{path}: every key is {KEY_BYTES} bytes, and `current` is one of them")
        return cls(current=data["current"], keys=keys)

    def derive(self, key_id: int, purpose: str, context: str = "") -> bytes:
        """Returns 32 bytes bound to a purpose and a context. Raises KeyError for an unknown key id."""
        return _hkdf(self.keys[key_id], f"scoreboard/{purpose}/{context}")

    def signing_key(self, key_id: int, session_id: str) -> bytes:
        """Returns the key that a session's client signs updates with. Raises KeyError for an unknown key id."""
        return self.derive(key_id, "signing", session_id)


@lru_cache(maxsize=65_536)  # 3 µs each; a session signs many updates
def _hkdf(key: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info.encode()).derive(key)
