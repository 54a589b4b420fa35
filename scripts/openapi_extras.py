"""What openapi.py cannot read from `proto/`: headers, statuses beside 200, and the paths that are plain HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

INFO: Json = {
    "title": "Scoreboard",
    "summary": "A real-time leaderboard that counts every action exactly once.",
    "description": (
        "The JSON side of the gateway; gRPC and gRPC-Web callers find the same calls in `proto/`. Every failure on "
        "`/api/` has the body `Error`, whoever refused. Unknown query parameters are refused, unknown fields of a body "
        "ignored. Fields are camelCase; `snake_case` names are understood too. Scores, ranks and versions are numbers."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
TAGS: list[Json] = [
    {"name": "Tokens", "description": "OAuth 2 for trusted clients, and the keys that tokens are verified by."},
    {"name": "WebSocket", "description": "Live boards as text frames."},
]
SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a session, or of `/oauth2/token`.",
    }
}
ERROR: Json = {
    "type": "object",
    "description": "The one error body. `reason` is for programs, `message` for people.",
    "required": ["success", "error", "message", "reason"],
    "additionalProperties": False,
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "description": "A short phrase, the same for every refusal of this reason."},
        "message": {"type": "string", "description": "A sentence to act on."},
        "reason": {"type": "string", "description": "A name of ErrorReason in error_reason.proto."},
    },
}
RETRY_AFTER: Json = {
    "description": "Whole seconds after which a retry may help, at least 1.",
    "schema": {"type": "integer", "minimum": 1},
    "required": True,
}

#: RPCs that a token adds to, and that are public without.
TOKEN_OPTIONAL = ("WatchLeaderboard",)

_SIGNATURE = "base64url, without padding, of HMAC-SHA256 by the session's `signing_key` over "
#: Headers that an RPC reads, by its name.
HEADERS: dict[str, list[Json]] = {
    "UpdateScore": [
        {
            "name": "X-Signature",
            "in": "header",
            "required": True,
            "description": _SIGNATURE
            + "`scoreboard.v1.UpdateScore`, userId, actionId and nonce, joined by line feeds.",
            "schema": {"type": "string"},
        }
    ],
    "Refresh": [
        {
            "name": "X-Signature",
            "in": "header",
            "required": False,
            "description": _SIGNATURE + "`scoreboard.v1.Refresh` and the refresh token, joined by a line feed.",
            "schema": {"type": "string"},
        }
    ],
    "GetLeaderboard": [
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "description": "The ETag of the board that the client has.",
            "schema": {"type": "string"},
        }
    ],
}

_ETAG: Json = {
    "description": "The board's version, in quotes. Absent while the answer is stale.",
    "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
}
_CACHE: Json = {"description": "Always `no-cache`.", "schema": {"const": "no-cache"}}


def _pending(good: Json) -> Json:
    about = "PENDING: accepted and durable, not yet committed; there is no newScore. GetUpdate tells the outcome."
    return {"202": {**good, "description": about}}


def _cached(good: Json) -> Json:
    headers = {"ETag": _ETAG, "Cache-Control": _CACHE}
    unchanged = {"description": "The client has the newest.", "headers": headers}
    return {"200": {**good, "headers": headers}, "304": unchanged}


#: Further answers of an RPC, given its 200.
ANSWERS: dict[str, Callable[[Json], Json]] = {"UpdateScore": _pending, "GetLeaderboard": _cached}


def server_sent_events(schema: str, about: str) -> Json:
    """Returns the answer of a server stream."""
    name = schema.rpartition("/")[2]
    return {
        "description": f"Server-Sent Events; the data of each is a {name} as JSON. {about}",
        "headers": {"Cache-Control": _CACHE},
        "content": {
            "text/event-stream": {
                "schema": {"type": "string", "description": f"`data: {{…}}`, as in #/components/schemas/{name}"}
            }
        },
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _error(about: str) -> Json:
    return {"description": about, "content": _json({"$ref": "#/components/schemas/Error"})}


def _oauth_error(about: str) -> Json:
    return {"description": about, "content": _json({"$ref": "#/components/schemas/OAuthError"})}


_TEXT: Json = {"type": "string"}
SCHEMAS: Json = {
    "OAuthError": {
        "type": "object",
        "description": "RFC 6749, section 5.2.",
        "required": ["error", "error_description"],
        "properties": {"error": _TEXT, "error_description": _TEXT},
    },
    "TokenRequest": {
        "type": "object",
        "description": "One of the grants `client_credentials`, `refresh_token` and, where it is configured, token "
        "exchange (RFC 8693). `password` is refused (RFC 9700).",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {
                "enum": [
                    "client_credentials",
                    "refresh_token",
                    "urn:ietf:params:oauth:grant-type:token-exchange",
                ]
            },
            "refresh_token": _TEXT,
            "client_id": _TEXT,
            "client_secret": {**_TEXT, "description": "In place of HTTP Basic, never beside it."},
            "scope": _TEXT,
            "subject_token": _TEXT,
            "subject_token_type": _TEXT,
            "requested_token_type": _TEXT,
            "audience": _TEXT,
        },
    },
    "TokenResponse": {
        "type": "object",
        "description": "RFC 6749, section 5.1; for a player's session also what Session has.",
        "required": ["access_token", "token_type", "expires_in", "scope"],
        "properties": {
            "access_token": _TEXT,
            "token_type": {"const": "Bearer"},
            "expires_in": {"type": "integer", "minimum": 1},
            "scope": _TEXT,
            "refresh_token": _TEXT,
            "issued_token_type": _TEXT,
            "signing_key": _TEXT,
            "server_time": {"type": "number"},
            "user_id": _TEXT,
        },
    },
}

_AWAY = {"headers": {"Retry-After": RETRY_AFTER}}
PLAIN_HTTP: Json = {
    "/oauth2/token": {
        "post": {
            "operationId": "Token",
            "tags": ["Tokens"],
            "summary": "Gives an access token.",
            "description": "RFC 6749 for trusted clients (HTTP Basic or the form), RFC 8693 for identity providers.",
            "security": [],
            "requestBody": {
                "required": True,
                "content": {
                    "application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/TokenRequest"}}
                },
            },
            "responses": {
                "200": {"description": "A token.", "content": _json({"$ref": "#/components/schemas/TokenResponse"})},
                "400": _oauth_error("The request or the grant is not good."),
                "401": _oauth_error("invalid_client: the client or its secret is wrong."),
                "413": _error("TOO_LARGE"),
                "429": {**_oauth_error("Too many tries."), **_AWAY},
                # One that the gateway could not reach has the body of `/api/`.
                "503": {
                    "description": "A server that this needs is away.",
                    "content": _json(
                        {
                            "anyOf": [
                                {"$ref": "#/components/schemas/OAuthError"},
                                {"$ref": "#/components/schemas/Error"},
                            ]
                        }
                    ),
                    **_AWAY,
                },
            },
        }
    },
    "/.well-known/jwks.json": {
        "get": {
            "operationId": "Keys",
            "tags": ["Tokens"],
            "summary": "Lists the keys that verify access tokens (RFC 7517).",
            "security": [],
            "responses": {
                "200": {
                    "description": "The keys.",
                    "content": _json(
                        {
                            "type": "object",
                            "required": ["keys"],
                            "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
                        }
                    ),
                },
                "503": {**_oauth_error("The keys are not there yet."), **_AWAY},
            },
        }
    },
    "/.well-known/oauth-authorization-server": {
        "get": {
            "operationId": "Metadata",
            "tags": ["Tokens"],
            "summary": "Describes the token endpoint (RFC 8414).",
            "security": [],
            "responses": {
                "200": {
                    "description": "The metadata.",
                    "content": _json({"type": "object", "required": ["issuer", "token_endpoint", "jwks_uri"]}),
                }
            },
        }
    },
    "/ws/leaderboard": {
        "get": {
            "operationId": "Socket",
            "tags": ["WebSocket"],
            "summary": "Opens a WebSocket that shows boards as they change.",
            "description": (
                "Text frames of LeaderboardUpdate as JSON, a snapshot at once; without a wish the board `all` with 10 "
                'rows. The client may say `{"watch": [{"board": "daily", "limit": 20}]}`, which replaces the boards '
                'watched, and `{"authorization": "Bearer …"}`, which brings the own place. A bad frame is answered by '
                "a frame with the error body. docs/streams.md has the codes that a close may bring."
            ),
            "security": [],
            "responses": {
                "101": {"description": "The WebSocket is open."},
                "403": _error("A page of another origin may not connect."),
                "426": _error("This was no WebSocket handshake of version 13."),
                "429": {**_error("QUEUE_FULL, RATE_LIMITED"), **_AWAY},
                "503": {**_error("SERVICE_AWAY"), **_AWAY},
            },
        }
    },
}
