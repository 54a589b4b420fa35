"""What every transport does with a call: who may make it, what it asks, what it is answered.

A servicer method is `async def get_rank(self, request, call) -> response`, a server-streaming one an async generator.
It returns a message, or bytes that were serialised before, or raises `Refused`.
Holds always: whatever a method raises, its caller is told a reason, and nothing of our inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from mesh import metrics, tracing
from mesh.call import Call, Push, push_nothing
from mesh.identity import Identity
from mesh.reasons import CODES, Reason
from mesh.refusal import Refused
from mesh.rpc_figures import RpcFigures

log = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 256 * 1024  # a batch of 500 updates is about 100 kB
IN_FLIGHT = metrics.gauge("scoreboard_rpc_in_flight")
FAULTS = frozenset((StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED))  # of the mesh
CALLS_MAX = 4_000  # unary calls in flight a process; past it QUEUE_FULL, before memory and latency suffer


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a method: anyone without a rule; `token` wants an identity, `optional` takes one when it comes.

    `session`: the token must belong to a session, as a player's does and a trusted client's does not.
    """

    token: bool = False
    session: bool = False
    optional: bool = False
    scope: str | None = None
    roles: tuple[str, ...] = ()  # any one of them does; none: every role does

    def check(self, identity: Identity) -> None:
        """Raises Refused(SCOPE_MISSING) when the identity lacks the scope or the session, or has none of the roles."""
        if self.scope is not None and self.scope not in identity.scopes:
            raise Refused(Reason.SCOPE_MISSING, f"The token lacks the scope {self.scope}.", needed=self.scope)
        if self.roles and identity.role not in self.roles:
            needed = " or ".join(self.roles)
            raise Refused(Reason.SCOPE_MISSING, f"Only the role {needed} may do this.", needed=needed)
        if self.session and not identity.session_id:
            raise Refused(Reason.SCOPE_MISSING, "Only a player who has signed in may do this.", needed="session")


PUBLIC = Access()


class Verifier(Protocol):
    """What says who calls: mesh.identity.TokenVerifier, or what stands on it."""

    async def verify(self, header: str | None) -> Identity:
        """Returns the identity of an `authorization` header. Raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """One proto service: its descriptor, the object that answers, and who may call what (by RPC name)."""

    descriptor: ServiceDescriptor
    servicer: object
    access: Mapping[str, Access]


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC as a transport needs it."""

    name: str  # "UpdateScore"
    path: str  # "/scoreboard.v1.ScoreService/UpdateScore"
    is_streaming: bool
    access: Access
    request_class: type[Message]
    run: Callable[[Message, Call], Any]
    figures: RpcFigures


def methods(service: Service) -> Iterator[Method]:
    """Yields the RPCs of a service."""
    for method in service.descriptor.methods:
        yield Method(
            name=method.name,
            path=f"/{service.descriptor.full_name}/{method.name}",
            is_streaming=method.server_streaming,
            access=service.access[method.name],
            request_class=GetMessageClass(method.input_type),
            run=_run_of(service.servicer, method),
            figures=RpcFigures(f"{service.descriptor.name}/{method.name}"),
        )


class Calls:
    """Carries out calls, whichever transport brought them; their bound is the process's."""

    def __init__(self, verifier: Verifier | None) -> None:
        self._verifier = verifier
        self._in_flight = 0
        IN_FLIGHT.read(lambda: self._in_flight)

    async def unary(
        self, method: Method, body: bytes, metadata: Mapping[str, str], deadline: float | None
    ) -> tuple[bytes, Mapping[str, str]]:
        """Returns the serialised answer and its initial metadata. deadline: time.monotonic(). Raises Refused alone."""
        began = metrics.clock()
        traceparent = metadata.get(tracing.TRACEPARENT)
        traced = tracing.Serving(method.path, traceparent) if tracing.wants(traceparent) else None
        self._in_flight += 1
        try:
            if self._in_flight > CALLS_MAX:
                raise Refused(Reason.QUEUE_FULL, "The service is busy; try again.", retry_after_s=1)
            call = await self._call(method.access, metadata, deadline)
            response = await method.run(_parse(method.request_class, body), call)
            return _serialise(response), call.answer
        except Exception as e:
            refused = _counted(e, method, metadata)
            if traced is not None:
                traced.fail(refused.reason, is_fault=CODES[refused.reason] in FAULTS)
            raise refused from e
        except asyncio.CancelledError:
            method.figures.left(deadline)
            raise
        finally:
            self._in_flight -= 1
            method.figures.answered(began)
            if traced is not None:
                traced.end()

    async def stream(
        self,
        method: Method,
        body: bytes,
        metadata: Mapping[str, str],
        deadline: float | None,
        push: Push = push_nothing,
    ) -> AsyncGenerator[bytes, None]:
        """Yields serialised frames; `push` writes those that come past the generator. Raises Refused alone."""
        are_open = method.figures.stream()
        are_open.inc()
        try:
            call = await self._call(method.access, metadata, deadline)
            call.push = push
            try:
                async with contextlib.aclosing(method.run(_parse(method.request_class, body), call)) as frames:
                    async for frame in frames:
                        yield _serialise(frame)
            finally:
                call.push = push_nothing  # the transport may carry another call from now on
        except Exception as e:
            raise _counted(e, method, metadata) from e
        finally:
            are_open.inc(-1)

    async def _call(self, access: Access, metadata: Mapping[str, str], deadline: float | None) -> Call:
        call = Call(metadata, deadline=deadline)
        header = metadata.get("authorization")
        if access.token or (access.optional and header is not None):
            assert self._verifier is not None, "a service with guarded methods is given a verifier"
            call.identity = await self._verifier.verify(header)
            access.check(call.identity)
        return call


def slow_consumer(method: Method) -> Refused:
    """Returns what a client is told that has not taken a frame in time, and counts it."""
    method.figures.refused(Reason.SLOW_CONSUMER)
    return Refused(
        Reason.SLOW_CONSUMER, "Frames were not read in time: reconnect for a fresh snapshot.", retry_after_s=1
    )


def too_large() -> Refused:
    """Returns the refusal of a request above REQUEST_BYTES_MAX."""
    return Refused(
        Reason.TOO_LARGE,
        f"The request is over {REQUEST_BYTES_MAX} bytes: send less at once.",
        limit=REQUEST_BYTES_MAX,
    )


def not_the_message() -> Refused:
    """Returns the refusal of bytes that are not the call's request."""
    return Refused(Reason.INVALID_ARGUMENT, "The request is not the message that this call takes.")


def explained(error: Exception, path: str, metadata: Mapping[str, str]) -> Refused:
    """Returns the refusal that an error becomes: INTERNAL, and a line in the log, for what is none of ours.

    Both bear the id of the trace that the call came with, sampled or not.
    """
    if isinstance(error, Refused):
        return error
    refused = Refused(Reason.INTERNAL, "An internal error occurred; it was logged.")
    if (trace_id := tracing.trace_id(metadata.get(tracing.TRACEPARENT))) is not None:
        refused.metadata["trace_id"] = trace_id
    extra = {"event": "call_failed", "method": path, **refused.metadata}
    log.error("A call failed unexpectedly", exc_info=error, extra=extra)
    return refused


def _counted(error: Exception, method: Method, metadata: Mapping[str, str]) -> Refused:
    refused = explained(error, method.path, metadata)
    method.figures.refused(refused.reason)
    return refused


def by_path(services: Sequence[Service]) -> dict[str, Method]:
    """Returns all RPCs by their path."""
    return {method.path: method for service in services for method in methods(service)}


def _run_of(servicer: object, method: MethodDescriptor) -> Callable[[Message, Call], Any]:
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()
    run: Callable[[Message, Call], Any] = getattr(servicer, name)
    return run


def _parse(request_class: type[Message], body: bytes) -> Message:
    if len(body) > REQUEST_BYTES_MAX:
        raise too_large()
    try:
        return request_class.FromString(body)
    except DecodeError as e:
        raise not_the_message() from e


def _serialise(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
