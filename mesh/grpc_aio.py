"""gRPC as grpcio serves it: over HTTP/2, with health and reflection. For callers inside, and for any gRPC tool."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.reasons import CODES
from mesh.refusal import Refused, to_status
from mesh.rpc import REQUEST_BYTES_MAX, Calls, Method, Service, methods, slow_consumer

ABORT_TIMEOUT_S = 1.0  # for telling a client that does not read so: its window may be shut for good

OPTIONS = [
    ("grpc.so_reuseport", 0),  # a port in use must be an error, not a second server on it
    # Ours is REQUEST_BYTES_MAX with a reason; this one only guards memory.
    ("grpc.max_receive_message_length", 8 * REQUEST_BYTES_MAX),
    # Twice what the gateway lets through: grpc's default of 8 kB refuses above it by chance.
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]

Context = grpc.aio.ServicerContext[Any, Any]


def make_server(
    address: str,
    services: Sequence[Service],
    calls: Calls,
    checks: health.aio.HealthServicer,
    write_timeout_s: float,
    credentials: grpc.ServerCredentials | None = None,
) -> grpc.aio.Server:
    """Returns a server bound to host:port, not yet started. Raises OSError when the port cannot be had.

    credentials: of TLS; None: plain.
    """
    server = grpc.aio.server(options=OPTIONS)
    for service in services:
        handlers = {
            method.name: _stream(method, calls, write_timeout_s) if method.is_streaming else _unary(method, calls)
            for method in methods(service)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.descriptor.full_name, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [service.descriptor.full_name for service in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    _add_port(server, address, credentials)
    return server


def make_health_server(address: str, checks: health.aio.HealthServicer) -> grpc.aio.Server:
    """Returns a plain server of health alone, for probes that know no TLS. Raises OSError as `make_server`."""
    server = grpc.aio.server(options=OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    _add_port(server, address, None)
    return server


def _add_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> None:
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as e:
        raise OSError(f"cannot listen on {address}: is the port in use?") from e


def _unary(method: Method, calls: Calls) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(body: bytes, context: Context) -> bytes:
        try:
            response, answer = await calls.unary(method, body, _metadata(context), _deadline(context))
        except Refused as e:
            await _abort(context, e)
        if answer:
            await context.send_initial_metadata(tuple(answer.items()))
        return response

    return grpc.unary_unary_rpc_method_handler(handle)


def _stream(method: Method, calls: Calls, write_timeout_s: float) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(body: bytes, context: Context) -> None:
        frames = calls.stream(method, body, _metadata(context), _deadline(context))
        try:
            async with contextlib.aclosing(frames):
                async for frame in frames:
                    await _write(context, frame, write_timeout_s)
        except _HungWrite:
            # The status would wait behind the frame. Returning drops the call, which resets its stream.
            with contextlib.suppress(TimeoutError, grpc.aio.AbortError):
                async with asyncio.timeout(ABORT_TIMEOUT_S):
                    await _abort(context, slow_consumer(method))
        except Refused as e:
            await _abort(context, e)

    return grpc.unary_stream_rpc_method_handler(handle)


class _HungWrite(Exception):  # noqa: N818 -- never leaves this module
    """A client has not taken a frame in time."""


async def _write(context: Context, frame: bytes, timeout_s: float) -> None:
    # An own clock: a write that has finished may not have left the process, one that hangs says nothing.
    try:
        async with asyncio.timeout(timeout_s):
            await context.write(frame)
    except TimeoutError as e:
        raise _HungWrite from e


def _metadata(context: Context) -> Mapping[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _deadline(context: Context) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


async def _abort(context: Context, refused: Refused) -> NoReturn:
    details = to_status(refused).SerializeToString()
    await context.abort(CODES[refused.reason], refused.message, (("grpc-status-details-bin", details),))
