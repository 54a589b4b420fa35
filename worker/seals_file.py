"""Publishes seals outside the database: a file of JSON lines, which the database's own administrator cannot rewrite.

Holds always: what is written is on the disk before `add` returns; several processes may share a file; a line that a
crash cut off spoils no other one.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from board.seal import Seal, published, read_published

_TAIL_BYTES = 8_192  # a line is some 450 bytes


class SealsFile:
    """The file at `path`, made when the first seal comes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self) -> Seal | None:
        """Returns what was published last; None: nothing. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                return _last(file.fileno())
        except FileNotFoundError:
            return None

    def add(self, seals: Sequence[Seal]) -> None:
        """Publishes seals, one that stands last already not again. Raises OSError."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if seals and _last(descriptor) == seals[0]:
                seals = seals[1:]
            lines = b"".join(orjson.dumps(published(seal)) + b"\n" for seal in seals)
            if _tail(descriptor)[-1:] not in (b"", b"\n"):
                lines = b"\n" + lines
            _write(descriptor, lines)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(descriptor: int, lines: bytes) -> None:
    while lines:
        lines = lines[os.write(descriptor, lines) :]


def _tail(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))


def _last(descriptor: int) -> Seal | None:
    for line in reversed(_tail(descriptor).splitlines()):
        try:
            return read_published(orjson.loads(line))
        except (ValueError, KeyError, TypeError):
            continue  # cut off
    return None
