"""Master keys of a deployment and what is derived from them (HKDF, RFC 5869).

Holds always: a derived key is a function of (master key, purpose, context) alone, so that every service that has the
master key derives the same and nothing is looked up.
"""

import base64
import json
import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

log = logging.getLogger(__name__)

KEY_BYTES = 32
LOOK_S = 1.0  # how long another file may go unnoticed


def b64url(data: bytes) -> str:
    """Returns base64url without padding (RFC 7515, appendix C)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64url_decode(text: str) -> bytes:
    """Returns the bytes of base64url without padding. Raises ValueError for anything else, sloppy spellings too."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url without padding")
    return data


class MasterKeys:
    """The deployment's keys by id; new secrets use `current`, older ones stay good while they are listed.

    Those of a file are read anew when it is another one, without a restart: whoever uses a key goes by the file of
    LOOK_S ago at most. One that cannot be read leaves the keys as they were.
    """

    def __init__(self, current: int, keys: Mapping[int, bytes]) -> None:
        self._current = current
        self._keys = dict(keys)
        self._file: Path | None = None
        self._version: tuple[int, int, int] | None = None  # of the file, as it was read last
        self._looked_at = time.monotonic()

    @classmethod
    def load(cls, path: Path) -> "MasterKeys":
        """Reads the file that docs/wiring.md describes. Raises OSError, and ValueError when it is not of that form."""
        version = _version(path)  # first: a file that comes in between is read once more
        made = cls(*_read(path))
        made._file, made._version = path, version
        return made

    @property
    def current(self) -> int:
        """The id of the key that new secrets use; ask once for what belongs together."""
        self._look()
        return self._current

    @property
    def keys(self) -> dict[int, bytes]:
        """All keys that are good."""
        self._look()
        return self._keys

    def derive(self, key_id: int, purpose: str, context: str = "") -> bytes:
        """Returns 32 bytes bound to a purpose and a context. Raises KeyError for an unknown key id."""
        return _hkdf(self.keys[key_id], f"scoreboard/{purpose}/{context}")

    def signing_key(self, key_id: int, session_id: str) -> bytes:
        """Returns the key that a session's client signs updates with. Raises KeyError for an unknown key id."""
        return self.derive(key_id, "signing", session_id)

    def _look(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._current, self._keys = _read(self._file)
        except (OSError, ValueError) as e:
            fields = {"event": "master_keys_failed", "error": type(e).__name__}
            log.error("The file of the master keys cannot be read: they stay as they were", extra=fields)
        else:
            log.info("Master keys read anew", extra={"event": "master_keys_read", "current": self._current})


def _read(path: Path) -> tuple[int, dict[int, bytes]]:
    try:
        data = json.loads(path.read_text())
        keys = {int(key_id): b64url_decode(text) for key_id, text in data["keys"].items()}
        is_whole = data["current"] in keys and all(len(key) == KEY_BYTES for key in keys.values())
    except (KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path}: every key is {KEY_BYTES} bytes, and `current` is one of them")
    return data["current"], keys


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=65_536)  # 3 µs each; a session signs many updates
def _hkdf(key: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info.encode()).derive(key)
