"""One call by any of the gateway's three protocols, and what came back in one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2
from tests.e2e import grpc_web

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (auth_pb2, score_pb2, leaderboard_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True)
class Said:
    """An answer: the message when there is one, else what was said instead. `status` is HTTP's, None for gRPC."""

    message: Any = None
    status: int | None = None
    code: str = "OK"  # gRPC's; JSON has none, and shows OK or its status' name as ""
    reason: str = ""
    words: str = ""
    retry_s: int | None = None
    body: Mapping[str, Any] | None = None  # of a JSON refusal


@dataclass(frozen=True)
class Protocols:
    """A gateway's address, with a connection for each protocol."""

    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    ports: Mapping[str, int] = field(default_factory=dict)  # of the services behind it, where known

    async def call(self, protocol: str, rpc: str, request: Message, headers: Mapping[str, str]) -> Said:
        """Makes a unary call by `json`, `grpc` or `grpc-web`."""
        method = METHODS[rpc]
        if protocol == "json":
            return await self._json(method, request, headers)
        if protocol == "grpc":
            return await self._grpc(method, request, headers)
        return await self._grpc_web(method, request, headers)

    async def _json(self, method: MethodDescriptor, request: Message, headers: Mapping[str, str]) -> Said:
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        if rule.get:
            path, fields = _into_path(rule.get, request, MessageToDict(request, preserving_proto_field_name=True))
            answer = await self.http.get(path, params=fields, headers=dict(headers))
        else:
            verb = rule.WhichOneof("pattern")
            path = getattr(rule, verb)
            answer = await self.http.request(verb, path, json=MessageToDict(request), headers=dict(headers))
        body = answer.json()
        if answer.status_code < 400:
            response = ParseDict(body, GetMessageClass(method.output_type)())
            return Said(message=response, status=answer.status_code)
        wait = answer.headers.get("retry-after")
        retry_s = None if wait is None else int(wait)
        return Said(None, answer.status_code, "", body["reason"], body["message"], retry_s, body)

    async def _grpc(self, method: MethodDescriptor, request: Message, headers: Mapping[str, str]) -> Said:
        call: Any = self.channel.unary_unary(
            _path(method),
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            return Said(message=await call(request, metadata=tuple(headers.items())))
        except grpc.aio.AioRpcError as error:
            found = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
            reason, retry_s = details_of(b"".join(map(bytes, found)))  # type: ignore[arg-type]
            return Said(None, None, error.code().name, reason, error.details() or "", retry_s)

    async def _grpc_web(self, method: MethodDescriptor, request: Message, headers: Mapping[str, str]) -> Said:
        answer = await grpc_web.call(self.http, _path(method), request, dict(headers))
        if answer.code == 0:
            response = GetMessageClass(method.output_type).FromString(answer.messages[0])
            return Said(message=response, status=answer.http_status)
        reason, retry_s = details_of(answer.details)
        return Said(None, answer.http_status, code_pb2.Code.Name(answer.code), reason, answer.message, retry_s)


def details_of(status: bytes) -> tuple[str, int | None]:
    """Returns the reason of our ErrorInfo in a serialised google.rpc.Status, and the seconds of its RetryInfo."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(status).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert info.domain == "scoreboard"
    return info.reason, retry.retry_delay.seconds if retry.HasField("retry_delay") else None


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _into_path(template: str, request: Message, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    names = set(re.findall(r"{(\w+)}", template))
    path = template.format_map({name: getattr(request, name) for name in names})
    return path, {name: value for name, value in fields.items() if name not in names}
