"""Finds free ports of 127.0.0.1 and holds them until their servers start.

Ports lie below the kernel's ephemeral range, so that no outgoing connection takes one in between; and each is marked
for as long as its `Ports` lives, so that no other mesh that starts takes one whose server is yet to start, or is away.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

import psutil

from scoreboard.local.trouble import Trouble

FIRST_PORT, LAST_PORT = 12000, 31999  # above the well-known servers, below Linux's ephemeral 32768
TRIES_MAX = 2000

_given: set[int] = set()  # by this process: one whose server is yet to start, or is away, looks free


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with suppress(OSError):
        _hold(port).close()
        return True
    return False


def _mark(port: int) -> socket.socket | None:
    """Mark a port as given, for all processes of this machine; None: another's mark is there. Ends with its holder."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0scoreboard-port-{port}")  # of the kernel's own names: there is no file to be left behind
    except OSError:
        mark.close()
        return None
    return mark


def _hold(port: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        held.listen(1)
    except OSError:
        held.close()
        raise
    return held


class Ports:
    """Ports by name; the ones of the last run are taken again where they are still free."""

    def __init__(self, wanted: dict[str, int] | None = None) -> None:
        self.numbers: dict[str, int] = {}
        self._wanted = wanted or {}
        self._held: dict[str, socket.socket] = {}
        self._marks: list[socket.socket] = []

    def take(self, name: str) -> int:
        """Return a port for this name, held until `release`. Raises Trouble when none is free."""
        candidates = [self._wanted[name]] if name in self._wanted else []
        # Not from `random`: two processes with one seed, as test runs are, would race for the same ports.
        candidates += [FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1) for _ in range(TRIES_MAX)]
        for port in candidates:
            if port in _given and port != self._wanted.get(name):
                continue
            mark = _mark(port)
            if mark is None and port not in _given:
                continue
            with suppress(OSError):
                self._held[name] = _hold(port)
                self._give(name, port, mark)
                return port
            if mark is not None:
                mark.close()
        raise Trouble("No port of 127.0.0.1 is free.", "Stop programs that listen on many ports (ss -ltn).")

    def claim(self, name: str, port: int) -> None:
        """Hold this very port for this name. Raises Trouble that names its present owner when it is in use."""
        try:
            self._held[name] = _hold(port)
        except OSError as error:
            cure = f"Stop it, or choose another port: scoreboard up --port {port + 1}"
            raise Trouble(f"Port {port} of 127.0.0.1 is in use{_owner(port)}: {error.strerror}.", cure) from error
        self._give(name, port, _mark(port))

    def _give(self, name: str, port: int, mark: socket.socket | None) -> None:
        self.numbers[name] = port
        _given.add(port)
        if mark is not None:
            self._marks.append(mark)

    def release(self, name: str) -> None:
        """Let go of a port just before its server starts."""
        if name in self._held:
            self._held.pop(name).close()

    def release_all(self) -> None:
        """Let go of every port still held."""
        for name in list(self._held):
            self.release(name)


def _owner(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("inet"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listening and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
