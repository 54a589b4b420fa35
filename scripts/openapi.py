"""Describes the gateway's HTTP API as OpenAPI 3.1, from the descriptors of `proto/` and their comments.

Pure. Paths, parameters and bodies are the `google.api.http` annotations; what the transcoder makes of a message is
https://protobuf.dev/programming-guides/json/ with every field printed that has a value or a default. Bounds and
reasons are read from the comments, in the few forms that `_bounds` and `named_reasons` know: stated once, for people
and programs. What no annotation can say (headers, 202, plain HTTP) stands in openapi_extras.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from scripts import openapi_extras as extras

Json = dict[str, Any]
Field = descriptor_pb2.FieldDescriptorProto

PACKAGE = ".scoreboard.v1."
SERVICES = ("AuthService", "ScoreService", "LeaderboardService", "StreamService")  # those behind the public gateway
#: What the gateway and `mesh.rpc` may refuse of any call.
ANY_CALL = ("INVALID_ARGUMENT", "QUEUE_FULL", "INTERNAL", "SERVICE_AWAY", "DEADLINE_EXCEEDED")
RETRY_AFTER = (429, 503)
SCALARS: dict[int, Json] = {
    Field.TYPE_DOUBLE: {"type": "number"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_INT32: {"type": "integer"},
    Field.TYPE_UINT32: {"type": "integer", "minimum": 0},
}


@dataclass(frozen=True)
class Reason:
    """A value of ErrorReason without its prefix. about: its comment."""

    name: str
    phrase: str
    status: int
    about: str

    @property
    def sentence(self) -> str:
        """The first sentence of its comment."""
        return re.split(r"(?<=\.)\s", self.about)[0]


class Comments:
    """The leading comments of a file set, by the full name of what they stand before."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self._texts: dict[str, str] = {}
        for file in files:
            for location in file.source_code_info.location:
                if location.leading_comments:
                    name = _named(file, location.path)
                    self._texts[name] = " ".join(location.leading_comments.split())

    def of(self, name: str) -> str:
        """Returns the comment in one line."""
        return self._texts.get(name, "")


def _named(file: descriptor_pb2.FileDescriptorProto, path: Sequence[int]) -> str:
    """Returns the full name of what a path of source_code_info (descriptor.proto) leads to."""
    name, at = f".{file.package}", file
    for number, index in zip(path[::2], path[1::2], strict=False):
        at = getattr(at, at.DESCRIPTOR.fields_by_number[number].name)[index]
        name += f".{at.name}"
    return name


def document(
    files: descriptor_pb2.FileDescriptorSet, reasons: Sequence[tuple[str, str, str, int]], version: str
) -> Json:
    """Returns the document. reasons: (name, gRPC code, phrase, HTTP status) of each. Raises ValueError.

    files: with source info; ValueError for a comment that names an unknown reason.
    """
    ours = [file for file in files.file if file.package == PACKAGE.strip(".")]
    comments = Comments(ours)
    prefix = f"{PACKAGE}ErrorReason.ERROR_REASON_"
    known = {name: Reason(name, phrase, status, comments.of(prefix + name)) for name, _, phrase, status in reasons}
    return _Writer(ours, comments, known).document(version)


class _Writer:
    def __init__(
        self, files: Sequence[descriptor_pb2.FileDescriptorProto], comments: Comments, reasons: Mapping[str, Reason]
    ) -> None:
        self._messages = {f"{PACKAGE}{message.name}": message for file in files for message in file.message_type}
        self._enums = {f"{PACKAGE}{enum.name}": enum for file in files for enum in file.enum_type}
        services = {service.name: service for file in files for service in file.service}
        self._services = [services[name] for name in SERVICES]
        self._comments = comments
        self._reasons = reasons
        self._schemas: Json = {"Error": extras.ERROR}

    def document(self, version: str) -> Json:
        paths: dict[str, Json] = {}
        for service in self._services:
            for method in service.method:
                if not method.options.HasExtension(annotations_pb2.http):
                    continue  # what regions ask each other, by gRPC alone
                path, verb, operation = self._operation(service.name, method)
                paths.setdefault(path, {})[verb] = operation
        for path, operations in extras.PLAIN_HTTP.items():
            paths.setdefault(path, {}).update(operations)
        tags = [{"name": s.name, "description": self._comments.of(PACKAGE + s.name)} for s in self._services]
        return {
            "openapi": "3.1.0",
            "info": {**extras.INFO, "version": version},
            "servers": [{"url": "/"}],
            "tags": [*tags, *extras.TAGS],
            "paths": paths,
            "components": {
                "schemas": {**self._schemas, **extras.SCHEMAS},
                "examples": {reason.name: _example(reason) for reason in self._reasons.values()},
                "securitySchemes": extras.SECURITY_SCHEMES,
            },
        }

    def _operation(self, service: str, method: descriptor_pb2.MethodDescriptorProto) -> tuple[str, str, Json]:
        rule = method.options.Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern")
        request = self._messages[method.input_type]
        names = {field.name: field.json_name for field in request.field}
        template: str = getattr(rule, verb)
        path = re.sub(r"{(\w+)}", lambda found: "{" + names[found[1]] + "}", template)
        about = self._comments.of(f"{PACKAGE}{service}.{method.name}")
        reasons = named_reasons(about, self._reasons)
        operation: Json = {
            "operationId": method.name,
            "tags": [service],
            "summary": re.split(r"(?<=\.)\s", about)[0],
            "description": about,
            "security": _security(method.name, reasons),
        }
        in_path = set(re.findall(r"{(\w+)}", template))
        parameters = [*extras.HEADERS.get(method.name, [])]
        if rule.body:
            operation["requestBody"] = self._body(request)
        else:
            parameters += [self._parameter(request, field, in_path) for field in request.field]
        if parameters:
            operation["parameters"] = parameters
        operation["responses"] = self._responses(method, reasons, has_body=bool(rule.body))
        return path, verb, operation

    def _body(self, request: descriptor_pb2.DescriptorProto) -> Json:
        media: Json = {"schema": self._reference(PACKAGE + request.name, is_answer=False)}
        if found := re.search(r"Example: `(.*)`", self._comments.of(PACKAGE + request.name)):
            media["example"] = json.loads(found[1])
        # An empty body is a message without fields.
        needs_one = "required" in self._schemas[request.name]
        return {"required": needs_one, "content": {"application/json": media}}

    def _parameter(self, request: descriptor_pb2.DescriptorProto, field: Field, in_path: set[str]) -> Json:
        about = self._comments.of(f"{PACKAGE}{request.name}.{field.name}")
        schema = self._value(field, about, is_answer=False)
        if field.name in in_path:
            schema["pattern"] = r"^[^/\\]+$"  # the gateway refuses both in a path, encoded too
        return {
            "name": field.json_name,
            "in": "path" if field.name in in_path else "query",
            "required": field.name in in_path,
            "description": about,
            "schema": schema,
        }

    # Answers

    def _responses(
        self, method: descriptor_pb2.MethodDescriptorProto, reasons: Sequence[Reason], *, has_body: bool
    ) -> Json:
        schema = self._reference(method.output_type, is_answer=True)
        about = self._comments.of(method.output_type)
        if method.server_streaming:
            good: Json = extras.server_sent_events(schema["$ref"], about)
        else:
            good = {"description": about, "content": {"application/json": {"schema": schema}}}
        answers: Json = {"200": good}
        if further := extras.ANSWERS.get(method.name):
            answers |= further(good)
        by_status: dict[int, list[Reason]] = {}
        for reason in reasons:
            by_status.setdefault(reason.status, []).append(reason)
        too_large = by_status.setdefault(413, [self._reasons["TOO_LARGE"]])
        by_status[431] = too_large
        if not has_body:
            del by_status[413]
        return answers | {str(status): _refusal(status, by_status[status]) for status in sorted(by_status)}

    # Schemas

    def _reference(self, name: str, *, is_answer: bool) -> Json:
        short = name.removeprefix(PACKAGE)
        if short not in self._schemas:
            self._schemas[short] = {}  # so that a message within itself ends
            self._schemas[short] = self._object(self._messages[name], is_answer=is_answer)
        return {"$ref": f"#/components/schemas/{short}"}

    def _object(self, message: descriptor_pb2.DescriptorProto, *, is_answer: bool) -> Json:
        properties, required = {}, []
        for field in message.field:
            about = self._comments.of(f"{PACKAGE}{message.name}.{field.name}")
            value = self._value(field, about, is_answer=is_answer)
            must_be = bool(value.get("minLength") or value.get("minItems"))
            is_printed = not field.proto3_optional and (_is_list(field) or field.type != Field.TYPE_MESSAGE)
            if is_printed if is_answer else must_be:
                required.append(field.json_name)
            elif not is_answer and "type" in value:
                value = {**value, "type": [value["type"], "null"]}  # null is a field that is not there
            properties[field.json_name] = {**value, "description": about}
        about = re.sub(r" Example: `.*`", "", self._comments.of(PACKAGE + message.name))
        schema: Json = {"type": "object", "description": about, "properties": properties}
        if required:
            schema["required"] = required
        if not is_answer:
            schema["propertyNames"] = {"minLength": 1}  # the transcoder knows no empty name
        return schema

    def _value(self, field: Field, about: str, *, is_answer: bool) -> Json:
        if field.type == Field.TYPE_MESSAGE:
            one: Json = self._reference(field.type_name, is_answer=is_answer)
        elif field.type == Field.TYPE_ENUM:
            one = {"type": "string", "enum": [value.name for value in self._enums[field.type_name].value]}
        else:
            one = SCALARS[field.type]
        if _is_list(field):
            return {"type": "array", "items": one, **({} if is_answer else _bounds(about, "Items"))}
        return one | _bounds(about, {"string": "Length", "integer": "imum"}.get(one.get("type", ""), ""))


def named_reasons(about: str, known: Mapping[str, Reason]) -> list[Reason]:
    """Reads what follows "Fails with": names, and beginnings such as `TOKEN_`, which stand for all of the kind.

    Adds what any call may meet. Raises ValueError for a name that is no reason, and where none is named.
    """
    _, said, tail = about.partition("Fails with ")
    if not said:
        raise ValueError(f"No reasons are named in: {about}")
    names: list[str] = []
    for word in re.findall(r"\b[A-Z]{2,}[A-Z_]*[A-Z_]", tail):
        found = [name for name in known if name == word or (word[-1] == "_" and name.startswith(word))]
        if not found:
            raise ValueError(f"{word} is no reason, in: {about}")
        names += found
    return [known[name] for name in dict.fromkeys([*names, *ANY_CALL])]


def _is_list(field: Field) -> bool:
    return field.label == Field.LABEL_REPEATED


def _bounds(about: str, kind: str) -> Json:
    """Reads "1 to 50 characters", "1 to 100; default 10", "default `all`" and "Always `Bearer`"."""
    found: Json = {}
    unit = " characters" if kind == "Length" else ""
    if kind and (ends := re.search(rf"\b([\d,]+) to ([\d,]+){unit}\b", about)):
        least, most = (int(end.replace(",", "")) for end in ends.groups())
        found |= {f"min{kind}": 0 if "empty: " in about else least, f"max{kind}": most}
    if default := re.search(r"default (?:`([^`]+)`|(\d+))", about):
        found["default"] = default[1] or int(default[2])
    if always := re.match(r"Always `([^`]+)`\.", about):
        found["const"] = always[1]
    return found


def _security(name: str, reasons: Sequence[Reason]) -> list[Json]:
    if name in extras.TOKEN_OPTIONAL:
        return [{}, {"bearer": []}]
    return [{"bearer": []}] if any(reason.name == "TOKEN_MISSING" for reason in reasons) else []


def _refusal(status: int, reasons: Sequence[Reason]) -> Json:
    names = [reason.name for reason in reasons]
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"reason": {"enum": names}}}],
    }
    examples = {name: {"$ref": f"#/components/examples/{name}"} for name in names}
    answer: Json = {
        "description": ", ".join(names),
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }
    if status in RETRY_AFTER:
        answer["headers"] = {"Retry-After": extras.RETRY_AFTER}
    return answer


def _example(reason: Reason) -> Json:
    body = {"success": False, "error": reason.phrase, "message": reason.sentence, "reason": reason.name}
    return {"summary": reason.about, "value": body}
