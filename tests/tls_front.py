"""TLS for the tests' Postgres, whose build has none: a front that speaks as Postgres does until all is encrypted.

It takes nobody without TLS. What stands behind it is the real server, and what it shows is what a client makes of a
certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tests.certificates import Certificate

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)  # docs/protocol-message-formats
CHUNK_BYTES = 64 * 1024


@asynccontextmanager
async def tls_front(server_port: int, own: Certificate) -> AsyncIterator[int]:
    """Yields the port of a front with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.certificate, own.key)
    calls: set[asyncio.Task[None]] = set()
    serve = partial(_serve, server_port, context, calls)
    front = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield front.sockets[0].getsockname()[1]
    finally:
        front.close()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def _serve(
    server_port: int,
    context: ssl.SSLContext,
    calls: set[asyncio.Task[None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    calls.add(task)
    try:
        if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
            return
        writer.write(b"S")
        await writer.start_tls(context)
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", server_port)
        with contextlib.closing(to_writer):
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, to_writer))
                both.create_task(_pass_on(to_reader, writer))
    except (OSError, EOFError, ExceptionGroup):  # a client that did not like the certificate, or has left
        return
    finally:
        calls.discard(task)
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    raise EOFError  # ends the other direction too
