"""scoreboard/local/probe.py: "not yet" is False, whatever a server does instead of answering."""

from __future__ import annotations

import asyncio

from scoreboard.local import probe


async def test_a_server_that_is_killed_in_the_middle_of_its_answer_does_not_answer() -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        writer.close()

    async with await asyncio.start_server(die, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert not await probe.http(url)
        assert not await probe.envoy_serves(url)
