"""Watchers by the thousand in a process of their own, each no more than a socket: `python -m bench.sockets`.

Arguments: KIND HOST:PORT COUNT. A line on standard input is answered by one on standard output, as JSON: to "tally",
what came so far; to "boards", each board that came since the last such question, with its time. The end of the input
ends it.
Bytes that no socket has met before are decoded and checked; the others are known by their bytes, so that each message
on each socket is checked for little. Holds always: `trouble` names the first thing that was not as it must be.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import cast

import uvloop

from bench.pushes import KINDS, Board, Kind

AT_ONCE = 64  # that connect
SPARE_FILES = 100


class Crowd:
    """All the sockets, and what came to them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.sockets: list[Socket] = []
        self.messages = 0
        self.last_at_s = 0.0
        self.trouble = ""
        self.boards: dict[bytes, Board] = {}  # by the bytes that show it, oldest first
        self._times_s: list[float] = []
        self._told = 0

    def take(self, messages: list[bytes], version: float) -> float:
        """Counts messages of one socket that was at this version; returns the version that it is at now."""
        self.messages += len(messages)
        self.last_at_s = time.monotonic()
        for message in messages:
            board = self.boards.get(message) or self._meet(message)
            if board.version < version:
                raise ValueError(f"version {board.version} after {version}")
            version = board.version
        return version

    def _meet(self, message: bytes) -> Board:
        board = self.boards[message] = self.kind.read(message)
        self._times_s.append(time.monotonic())
        return board

    def tally(self) -> dict[str, object]:
        """Returns what came so far. behind: sockets that have not been shown the newest board yet."""
        boards = [board for board in self.boards.values() if board.rows]
        newest = max(boards, default=Board(0, ()))
        return {
            "messages": self.messages,
            "last_at_s": self.last_at_s,
            "boards": len(boards),
            "rows": newest.rows,
            "behind": sum(socket.version < newest.version for socket in self.sockets),
            "trouble": self.trouble,
        }

    def new_boards(self) -> list[tuple[float, str]]:
        """Returns (monotonic seconds, text) of boards since the last call; for a kind whose messages are text."""
        met = list(zip(self._times_s, self.boards.items(), strict=True))
        new, self._told = met[self._told :], len(met)
        return [(at, message.decode()) for at, (message, board) in new if board.rows]


class Socket(asyncio.Protocol):
    """One watcher."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._cut = crowd.kind.cut
        self._transport: asyncio.Transport
        self._unread = b""
        self.is_open = asyncio.get_running_loop().create_future()
        self.version = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the board."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._crowd.kind.request)

    def data_received(self, data: bytes) -> None:
        """Takes what is pushed."""
        if self._unread:
            data = self._unread + data
        try:
            if not self.is_open.done():
                data = self._after_head(data)
            if self.is_open.done():
                messages, replies, taken = self._cut(data)
                data = data[taken:]
                self.version = self._crowd.take(messages, self.version)
                for reply in replies:
                    self._transport.write(reply)
            self._unread = data
        except ValueError as e:
            self._fail(str(e))

    def connection_lost(self, exc: Exception | None) -> None:
        """No server that is measured ends a stream."""
        self._fail(f"a connection was lost: {exc}")

    def _after_head(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        if not head.startswith(self._crowd.kind.answer):
            raise ValueError(f"answered {data[:500]!r}")
        self.is_open.set_result(None)
        return rest

    def _fail(self, trouble: str) -> None:
        self._crowd.trouble = self._crowd.trouble or trouble
        self._transport.abort()
        if not self.is_open.done():
            self.is_open.set_result(None)


async def connect(crowd: Crowd, host: str, port: int, count: int) -> None:
    """Opens so many sockets."""
    loop, numbers = asyncio.get_running_loop(), iter(range(count))

    async def some() -> None:
        for _ in numbers:
            _, socket = await loop.create_connection(lambda: Socket(crowd), host, port)
            crowd.sockets.append(socket)
            await socket.is_open

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def main(kind: str, target: str, count: int) -> None:
    """Opens the sockets, and answers questions until there are no more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < count + SPARE_FILES:
        sys.exit(f"{count} sockets need {count + SPARE_FILES} open files: raise the limit of {most} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(KINDS[kind])
    host, _, port = target.rpartition(":")
    await connect(crowd, host, int(port), count)
    while question := (await asyncio.to_thread(sys.stdin.readline)).strip():
        answer = crowd.new_boards() if question == "boards" else crowd.tally()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
