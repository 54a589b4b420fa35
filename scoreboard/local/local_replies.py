"""What the gateway says when it refuses by itself: the one error body for HTTP, ErrorInfo for gRPC and gRPC-Web.

Pure: makes the mappers of Envoy's local_reply_config. A reason's code and phrase come from error_reason.proto.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from mesh.reasons import PHRASES, Reason
from mesh.refusal import Refused, to_status

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class LocalReply:
    """A refusal of Envoy's own: which ones (HTTP status, and what jwt_authn says was wrong), and what becomes of it."""

    status: int
    reason: Reason
    message: str
    why: str | None = None  # beginning of jwt_authn's words
    answer_status: int | None = None  # another HTTP status to answer with
    retry_after_s: int | None = None
    or_above: bool = False  # every status from this one on
    if_header: tuple[str, str] | None = None  # only requests that bring it, with a value that begins so


_TOKEN_INVALID = "The access token is not valid here: log in again."  # noqa: S105
_TOO_LARGE = "The request is too large: bodies may have 65536 bytes, headers 16 kB in all."
_LATE = "The call took too long; an update is safe to repeat with the same nonce."

#: The first that fits decides, so the special ones stand before the general.
LOCAL_REPLIES = (
    LocalReply(
        401,
        Reason.SERVICE_AWAY,
        "Tokens cannot be checked right now; try again.",
        why="Jwks remote fetch",
        answer_status=503,
        retry_after_s=1,
    ),
    LocalReply(
        401,
        Reason.TOKEN_MISSING,
        "This call needs an access token: send Authorization: Bearer TOKEN.",
        why="Jwt is missing",
    ),
    LocalReply(
        401,
        Reason.TOKEN_EXPIRED,
        "The access token has expired: get a new one with the refresh token.",
        why="Jwt is expired",
    ),
    LocalReply(403, Reason.TOKEN_INVALID, _TOKEN_INVALID, why="Audiences", answer_status=401),
    LocalReply(401, Reason.TOKEN_INVALID, _TOKEN_INVALID),
    LocalReply(
        403,
        Reason.INVALID_ARGUMENT,
        "Only /ws/leaderboard takes an upgrade, and only to websocket.",
        if_header=("upgrade", ""),
        answer_status=400,
    ),
    LocalReply(403, Reason.SCOPE_MISSING, "The token lacks the scope that this call needs."),
    LocalReply(404, Reason.NOT_FOUND, "There is nothing at this address, or not by this method."),
    LocalReply(408, Reason.DEADLINE_EXCEEDED, _LATE, answer_status=504),
    LocalReply(413, Reason.TOO_LARGE, _TOO_LARGE),
    LocalReply(431, Reason.TOO_LARGE, _TOO_LARGE),
    LocalReply(
        502, Reason.SERVICE_AWAY, "The service is away; try again in a moment.", answer_status=503, retry_after_s=1
    ),
    LocalReply(503, Reason.SERVICE_AWAY, "The service is away; try again in a moment.", retry_after_s=1),
    LocalReply(504, Reason.DEADLINE_EXCEEDED, _LATE),
    LocalReply(500, Reason.INTERNAL, "An internal error occurred; try again.", or_above=True),
    LocalReply(
        400,
        Reason.INVALID_ARGUMENT,
        "The request is not valid: check its JSON, its fields and its query parameters.",
        or_above=True,
    ),
)

#: Whom a JSON body answers: calls that the transcoder has made gRPC by then, and whatever did not come as gRPC.
_HTTP: JsonObject = {
    "or_filter": {
        "filters": [
            {"header_filter": {"header": {"name": "x-envoy-original-path", "string_match": {"prefix": "/api/"}}}},
            {
                "header_filter": {
                    "header": {
                        "name": "content-type",
                        "string_match": {"prefix": "application/grpc"},
                        "invert_match": True,
                        # Refusals of what could not be parsed have no content type.
                        "treat_missing_header_as_empty": True,
                    }
                }
            },
        ]
    }
}


#: What is said for a service whose refusal brings no reason of ours, by reason.
SENTENCES = {reply.reason: reply.message for reply in LOCAL_REPLIES}


def lua_sentences() -> str:
    """Returns SENTENCES as a Lua table; its sentences have neither quotes nor backslashes."""
    rows = "".join(f'  {reason} = "{sentence}",\n' for reason, sentence in SENTENCES.items())
    return f"local SENTENCES = {{\n{rows}}}\n"


def mappers(login_wait_s: int, update_wait_s: int) -> list[JsonObject]:
    """Returns the mappers: for each refusal one for HTTP, then one for gRPC.

    The waits, whole seconds, are what a shield takes to let the next call through. They are RetryInfo, which has to be
    fixed; HTTP's own Retry-After comes from the limiter and stays.
    """
    replies = (*_rate_limited(login_wait_s, update_wait_s), *LOCAL_REPLIES)
    return [mapper for reply in replies for mapper in (_http_mapper(reply), _grpc_mapper(reply))]


def _rate_limited(login_wait_s: int, update_wait_s: int) -> list[LocalReply]:
    words = "Too many requests: wait as long as Retry-After says."
    signing_in = [
        LocalReply(
            429,
            Reason.RATE_LIMITED,
            words,
            if_header=(":path", f"/scoreboard.v1.AuthService/{rpc}"),
            retry_after_s=login_wait_s,
        )
        for rpc in ("Register", "Login", "Guest")
    ]
    return [*signing_in, LocalReply(429, Reason.RATE_LIMITED, words, retry_after_s=update_wait_s)]


def _http_mapper(reply: LocalReply) -> JsonObject:
    body = {
        "success": False,
        "error": PHRASES[reply.reason],
        "message": reply.message,
        "reason": str(reply.reason),
    }
    return _mapper(reply, [_HTTP], {"json_format": body}, [])


def _grpc_mapper(reply: LocalReply) -> JsonObject:
    refused = Refused(reply.reason, reply.message, retry_after_s=reply.retry_after_s)
    details = base64.b64encode(to_status(refused).SerializeToString()).decode()
    body = {"text_format_source": {"inline_string": reply.message}}
    return _mapper(reply, [], body, [_header("grpc-status-details-bin", details)])


def _mapper(reply: LocalReply, filters: list[JsonObject], body: JsonObject, headers: list[JsonObject]) -> JsonObject:
    if reply.retry_after_s is not None:
        headers = [*headers, _header("retry-after", str(reply.retry_after_s))]
    mapper: JsonObject = {
        "filter": {"and_filter": {"filters": [*filters, _status(reply), *_why(reply), *_if_header(reply)]}},
        "body_format_override": body,
        "headers_to_add": headers,
    }
    if len(mapper["filter"]["and_filter"]["filters"]) == 1:
        mapper["filter"] = _status(reply)
    if reply.answer_status is not None:
        mapper["status_code"] = reply.answer_status
    return mapper


def _status(reply: LocalReply) -> JsonObject:
    operator = "GE" if reply.or_above else "EQ"
    value = {"default_value": reply.status, "runtime_key": "scoreboard.local_reply"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _why(reply: LocalReply) -> list[JsonObject]:
    if reply.why is None:
        return []
    matcher = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "why"}, {"key": "message"}],
        "value": {"string_match": {"prefix": reply.why}},
    }
    return [{"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}]


def _if_header(reply: LocalReply) -> list[JsonObject]:
    if reply.if_header is None:
        return []
    name, beginning = reply.if_header
    match = {"string_match": {"prefix": beginning}} if beginning else {"present_match": True}
    return [{"header_filter": {"header": {"name": name, **match}}}]


def _header(name: str, value: str) -> JsonObject:
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}
