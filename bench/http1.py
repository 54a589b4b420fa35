"""The JSON twin of bench/h2.py: prepared requests over connections that stay open, one call at a time on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httptools

from bench import tally


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: httptools has it only when the body is as long as its headers say."""

    status: int
    body: bytes


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Returns a request, encoded once."""
    fields = {"host": "bench"} | dict(headers) | ({"content-length": str(len(body))} if body else {})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


class Connection(tally.Connection[bytes, Answer]):
    """One connection."""

    def __init__(self, counts: tally.Tally[bytes, Answer]) -> None:
        super().__init__(counts)
        self._parser = httptools.HttpResponseParser(self)
        self._began: float | None = None  # None: nothing is on its way
        self._parts: list[bytes] = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts what was on its way as failed."""
        if self._began is not None:
            self.tally.ended(self._began, None)

    def send(self, request: bytes) -> None:
        """Sends a call now."""
        self._began, self._parts = self.tally.began(), []
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Takes a part of an answer."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Is called by httptools."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Is called by httptools."""
        assert self._began is not None, "an answer that nobody asked for"
        began, self._began = self._began, None
        self.tally.ended(began, Answer(self._parser.get_status_code(), b"".join(self._parts)))
        self.send_next()
