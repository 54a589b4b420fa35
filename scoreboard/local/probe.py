"""Asks a server whether it answers; "not yet" is False, never an exception."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import asyncpg
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis
from redis.exceptions import RedisError

PROBE_TIMEOUT_S = 2.0  # a loaded machine may take a second; a hung server must not stop the others' turn
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1; a broker that is up answers with a method frame (1)


async def postgres(url: str) -> bool:
    """Whether Postgres lets this role in."""
    try:
        connection = await asyncpg.connect(url, timeout=PROBE_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


async def redis(url: str) -> bool:
    """Whether Redis answers this user, its data loaded."""
    client = Redis.from_url(url, socket_timeout=PROBE_TIMEOUT_S, socket_connect_timeout=PROBE_TIMEOUT_S)
    try:
        return bool(await client.ping())
    except (OSError, RedisError):
        return False
    finally:
        await client.aclose()


async def listens(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PROBE_TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def amqp(port: int) -> bool:
    """Whether a broker answers the AMQP greeting; RabbitMQ listens last, after its definitions."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), PROBE_TIMEOUT_S)
        try:
            writer.write(AMQP_HEADER)
            return await asyncio.wait_for(reader.read(1), PROBE_TIMEOUT_S) == b"\x01"
        finally:
            writer.close()
    except (OSError, TimeoutError):
        return False


async def http(url: str, method: str = "GET") -> bool:
    """Whether this URL answers 200."""
    return await http_text(url, method) is not None


async def http_text(url: str, method: str = "GET") -> str | None:
    """Return the stripped text of this URL's 200, else None."""
    return await asyncio.to_thread(_text, Request(url, method=method))  # noqa: S310


def _text(request: Request) -> str | None:
    # HTTPException: a server that is killed in the middle of its answer.
    with suppress(URLError, OSError, HTTPException), urlopen(request, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310
        return str(answer.read().decode(errors="replace")).strip()
    return None


async def envoy_serves(admin: str) -> bool:
    """Whether Envoy takes each of its hosts for alive and has the keys of tokens; admin: the URL of its own port.

    Its /ready says less: a host that came up after Envoy is found at the next check, and gets no call before.
    """
    text = await http_text(f"{admin}/stats?format=json&filter=membership_healthy|membership_total|jwks_fetch_success")
    if text is None:
        return False
    figures = {one["name"]: one["value"] for one in json.loads(text)["stats"] if "name" in one}
    totals = {name: value for name, value in figures.items() if name.endswith("membership_total")}
    healthy = {name: figures[name.replace("total", "healthy")] for name in totals}
    return healthy == totals and figures.get("http.edge.jwt_authn.jwks_fetch_success", 0) > 0


async def grpc_health(port: int, service: str) -> bool:
    """Whether the service of that name says SERVING."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types-package does not know Check
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await stub.Check(request, timeout=PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
