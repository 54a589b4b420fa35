"""Serves servicers that know no transport over grpc.aio, with health, reflection, access rules and a clean end.

A servicer method is `async def get_rank(self, request, call) -> response`, a server-streaming one an async generator.
It returns a message, or bytes that were serialised before, or raises `Refused`.
Holds always: whatever a method raises, the client gets a canonical code with a reason, and nothing of our inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.call import Call
from mesh.identity import Identity, TokenVerifier
from mesh.reasons import CODES, Reason
from mesh.refusal import Refused, to_status
from mesh.settings import ServiceSettings

log = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 256 * 1024  # a batch of 500 updates is about 100 kB
CALLS_MAX = 4_000  # unary calls in flight a process; past it QUEUE_FULL, before memory and latency suffer
READINESS_INTERVAL_S = 0.2
WRITE_TIMEOUT_S = 10.0  # a stream whose client has not taken a frame by then ends as SLOW_CONSUMER
ABORT_TIMEOUT_S = 1.0  # for telling such a client so: its window may be shut for good

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


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a method: anyone without a rule; `token` wants an identity, `optional` takes one when it comes."""

    token: bool = False
    optional: bool = False
    scope: str | None = None
    role: str | None = None

    def check(self, identity: Identity) -> None:
        """Raises Refused(SCOPE_MISSING) when the identity lacks the scope or the role."""
        if self.scope is not None and self.scope not in identity.scopes:
            raise Refused(Reason.SCOPE_MISSING, f"The token lacks the scope {self.scope}.", needed=self.scope)
        if self.role is not None and self.role != identity.role:
            raise Refused(Reason.SCOPE_MISSING, f"Only the role {self.role} may do this.", needed=self.role)


PUBLIC = Access()


@dataclass(frozen=True, slots=True)
class Service:
    """One proto service: its descriptor, the object that answers, and who may call what (by RPC name)."""

    descriptor: ServiceDescriptor
    servicer: object
    access: Mapping[str, Access]


async def serve(
    settings: ServiceSettings,
    port: int,
    services: Sequence[Service],
    *,
    ready: Callable[[], bool],
    readiness_names: Sequence[str] = (),
    verifier: TokenVerifier | None = None,
    on_drain: Callable[[], Awaitable[None]] | None = None,
    write_timeout_s: float = WRITE_TIMEOUT_S,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: NOT_SERVING, `on_drain`, calls in flight finish, end.

    Raises OSError when the port cannot be had.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server(options=OPTIONS)
    for service in services:
        server.add_generic_rpc_handlers((_handlers(service, _Adapter(verifier, write_timeout_s)),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [service.descriptor.full_name for service in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        server.add_insecure_port(f"{settings.host}:{port}")
    except RuntimeError as e:
        raise OSError(f"cannot listen on {settings.host}:{port}: is the port in use?") from e
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    watch = asyncio.create_task(_watch_readiness(checks, [*names, *readiness_names], ready), name="readiness")
    log.info("Serving", extra={"event": "serving", "port": port})
    await stop.wait()
    log.info("Draining", extra={"event": "draining"})
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await checks.enter_graceful_shutdown()
    await asyncio.sleep(settings.drain_s)  # lets the gateway see NOT_SERVING and turn elsewhere
    if on_drain is not None:
        await on_drain()
    await server.stop(settings.stop_grace_s)


async def _watch_readiness(checks: health.aio.HealthServicer, names: Sequence[str], ready: Callable[[], bool]) -> None:
    shown: bool | None = None
    while True:
        now = ready()
        if now != shown:
            status = health_pb2.HealthCheckResponse
            for name in names:
                await checks.set(name, status.SERVING if now else status.NOT_SERVING)
            log.info("Readiness changed", extra={"event": "readiness", "ready": now})
            shown = now
        await asyncio.sleep(READINESS_INTERVAL_S)


def _handlers(service: Service, adapter: _Adapter) -> grpc.GenericRpcHandler:
    methods = {
        method.name: adapter.stream(service, method) if method.server_streaming else adapter.unary(service, method)
        for method in service.descriptor.methods
    }
    return grpc.method_handlers_generic_handler(service.descriptor.full_name, methods)


class _HungWrite(Exception):  # noqa: N818 -- never leaves this module
    """A client has not taken a frame in time."""


class _Adapter:
    """Turns servicer methods into grpc.aio handlers."""

    def __init__(self, verifier: TokenVerifier | None, write_timeout_s: float) -> None:
        self._verifier = verifier
        self._write_timeout_s = write_timeout_s
        self._in_flight = 0

    def unary(self, service: Service, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        run, request_class = _method(service, method), GetMessageClass(method.input_type)
        access = service.access[method.name]

        async def handle(body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message | bytes:
            self._in_flight += 1
            try:
                if self._in_flight > CALLS_MAX:
                    raise Refused(Reason.QUEUE_FULL, "The service is busy; try again.", retry_after_s=1)
                call = await self._call(context, access)
                response: Message | bytes = await run(_parse(request_class, body), call)
                if call.answer:
                    await context.send_initial_metadata(tuple(call.answer.items()))
                return response
            except Exception as e:
                await _abort(context, e, method)
            finally:
                self._in_flight -= 1

        return grpc.unary_unary_rpc_method_handler(handle, None, _serialise)

    def stream(self, service: Service, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        run, request_class = _method(service, method), GetMessageClass(method.input_type)
        access = service.access[method.name]

        async def handle(body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            try:
                call = await self._call(context, access)
                async with contextlib.aclosing(run(_parse(request_class, body), call)) as frames:
                    async for frame in frames:
                        await self._write(context, frame)
            except _HungWrite:
                # The status would wait behind the frame. Returning drops the call, which resets its stream.
                with contextlib.suppress(TimeoutError, grpc.aio.AbortError):
                    async with asyncio.timeout(ABORT_TIMEOUT_S):
                        await _abort(context, _slow_consumer(), method)
            except Exception as e:
                await _abort(context, e, method)

        return grpc.unary_stream_rpc_method_handler(handle, None, _serialise)

    async def _write(self, context: grpc.aio.ServicerContext[Any, Any], frame: Message | bytes) -> None:
        # An own clock: a write that has finished may not have left the process, one that hangs says nothing.
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await context.write(frame)
        except TimeoutError as e:
            raise _HungWrite from e

    async def _call(self, context: grpc.aio.ServicerContext[Any, Any], access: Access) -> Call:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        remaining = context.time_remaining()
        call = Call(metadata, deadline=None if remaining is None else time.monotonic() + remaining)
        header = metadata.get("authorization")
        if access.token or (access.optional and header is not None):
            assert self._verifier is not None, "a service with guarded methods is given a verifier"
            call.identity = await self._verifier.verify(header)
            access.check(call.identity)
        return call


def _method(service: Service, method: MethodDescriptor) -> Callable[[Message, Call], Any]:
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()
    run: Callable[[Message, Call], Any] = getattr(service.servicer, name)
    return run


def _parse(request_class: type[Message], body: bytes) -> Message:
    if len(body) > REQUEST_BYTES_MAX:
        raise Refused(
            Reason.TOO_LARGE,
            f"The request is over {REQUEST_BYTES_MAX} bytes: send less at once.",
            limit=REQUEST_BYTES_MAX,
        )
    try:
        return request_class.FromString(body)
    except DecodeError as e:
        raise Refused(Reason.INVALID_ARGUMENT, "The request is not the message that this call takes.") from e


def _slow_consumer() -> Refused:
    return Refused(
        Reason.SLOW_CONSUMER, "Frames were not read in time: reconnect for a fresh snapshot.", retry_after_s=1
    )


def _serialise(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: MethodDescriptor) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, Refused):
        log.error(
            "A call failed unexpectedly",
            exc_info=error,
            extra={"event": "call_failed", "method": method.full_name},
        )
        error = Refused(Reason.INTERNAL, "An internal error occurred; it was logged.")
    details = to_status(error).SerializeToString()
    await context.abort(CODES[error.reason], error.message, (("grpc-status-details-bin", details),))
