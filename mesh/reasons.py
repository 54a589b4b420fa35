"""Every reason for a refusal, with its gRPC code. Generated from error_reason.proto."""

from enum import StrEnum

from grpc import StatusCode


class Reason(StrEnum):
    """A reason as the wire has it; error_reason.proto says when each occurs."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NONCE_MALFORMED = "NONCE_MALFORMED"
    NONCE_EXPIRED = "NONCE_EXPIRED"
    NONCE_MISMATCH = "NONCE_MISMATCH"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"
    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_INVALID = "TOKEN_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    SESSION_REVOKED = "SESSION_REVOKED"
    BAD_CREDENTIALS = "BAD_CREDENTIALS"
    NOT_YOUR_SCORE = "NOT_YOUR_SCORE"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    SCOPE_MISSING = "SCOPE_MISSING"
    SERVER_ONLY_ACTION = "SERVER_ONLY_ACTION"
    BANNED = "BANNED"
    UNKNOWN_USER = "UNKNOWN_USER"
    UNKNOWN_BOARD = "UNKNOWN_BOARD"
    NOT_FOUND = "NOT_FOUND"
    NONCE_REUSED = "NONCE_REUSED"
    USERNAME_TAKEN = "USERNAME_TAKEN"
    RATE_LIMITED = "RATE_LIMITED"
    COOLDOWN = "COOLDOWN"
    CAP_REACHED = "CAP_REACHED"
    QUEUE_FULL = "QUEUE_FULL"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    TOO_LARGE = "TOO_LARGE"
    BROKER_AWAY = "BROKER_AWAY"
    LEADERBOARD_UNAVAILABLE = "LEADERBOARD_UNAVAILABLE"
    SERVICE_AWAY = "SERVICE_AWAY"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


CODES = {
    Reason.INVALID_ARGUMENT: StatusCode.INVALID_ARGUMENT,
    Reason.NONCE_MALFORMED: StatusCode.INVALID_ARGUMENT,
    Reason.NONCE_EXPIRED: StatusCode.INVALID_ARGUMENT,
    Reason.NONCE_MISMATCH: StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_ACTION: StatusCode.INVALID_ARGUMENT,
    Reason.TOKEN_MISSING: StatusCode.UNAUTHENTICATED,
    Reason.TOKEN_INVALID: StatusCode.UNAUTHENTICATED,
    Reason.TOKEN_EXPIRED: StatusCode.UNAUTHENTICATED,
    Reason.SESSION_REVOKED: StatusCode.UNAUTHENTICATED,
    Reason.BAD_CREDENTIALS: StatusCode.UNAUTHENTICATED,
    Reason.NOT_YOUR_SCORE: StatusCode.PERMISSION_DENIED,
    Reason.SIGNATURE_INVALID: StatusCode.PERMISSION_DENIED,
    Reason.SIGNATURE_MISSING: StatusCode.PERMISSION_DENIED,
    Reason.SCOPE_MISSING: StatusCode.PERMISSION_DENIED,
    Reason.SERVER_ONLY_ACTION: StatusCode.PERMISSION_DENIED,
    Reason.BANNED: StatusCode.PERMISSION_DENIED,
    Reason.UNKNOWN_USER: StatusCode.NOT_FOUND,
    Reason.UNKNOWN_BOARD: StatusCode.NOT_FOUND,
    Reason.NOT_FOUND: StatusCode.NOT_FOUND,
    Reason.NONCE_REUSED: StatusCode.ABORTED,
    Reason.USERNAME_TAKEN: StatusCode.ALREADY_EXISTS,
    Reason.RATE_LIMITED: StatusCode.RESOURCE_EXHAUSTED,
    Reason.COOLDOWN: StatusCode.RESOURCE_EXHAUSTED,
    Reason.CAP_REACHED: StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUEUE_FULL: StatusCode.RESOURCE_EXHAUSTED,
    Reason.SLOW_CONSUMER: StatusCode.RESOURCE_EXHAUSTED,
    Reason.TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    Reason.BROKER_AWAY: StatusCode.UNAVAILABLE,
    Reason.LEADERBOARD_UNAVAILABLE: StatusCode.UNAVAILABLE,
    Reason.SERVICE_AWAY: StatusCode.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: StatusCode.DEADLINE_EXCEEDED,
    Reason.INTERNAL: StatusCode.INTERNAL,
}

#: The short phrase of a JSON error body.
PHRASES = {
    Reason.INVALID_ARGUMENT: "Invalid request",
    Reason.NONCE_MALFORMED: "Invalid nonce",
    Reason.NONCE_EXPIRED: "Nonce expired",
    Reason.NONCE_MISMATCH: "Nonce does not match",
    Reason.UNKNOWN_ACTION: "Invalid user ID or action ID",
    Reason.TOKEN_MISSING: "Token missing",
    Reason.TOKEN_INVALID: "Token invalid",
    Reason.TOKEN_EXPIRED: "Token expired",
    Reason.SESSION_REVOKED: "Session revoked",
    Reason.BAD_CREDENTIALS: "Wrong username or password",
    Reason.NOT_YOUR_SCORE: "Not your score",
    Reason.SIGNATURE_INVALID: "Signature invalid",
    Reason.SIGNATURE_MISSING: "Signature missing",
    Reason.SCOPE_MISSING: "Not allowed",
    Reason.SERVER_ONLY_ACTION: "Server-only action",
    Reason.BANNED: "Player banned",
    Reason.UNKNOWN_USER: "Unknown player",
    Reason.UNKNOWN_BOARD: "Leaderboard not found",
    Reason.NOT_FOUND: "Not found",
    Reason.NONCE_REUSED: "Nonce already used",
    Reason.USERNAME_TAKEN: "Username taken",
    Reason.RATE_LIMITED: "Too many requests",
    Reason.COOLDOWN: "Action is cooling down",
    Reason.CAP_REACHED: "Action cap reached",
    Reason.QUEUE_FULL: "Busy",
    Reason.SLOW_CONSUMER: "Reading too slowly",
    Reason.TOO_LARGE: "Request too large",
    Reason.BROKER_AWAY: "Updates are unavailable",
    Reason.LEADERBOARD_UNAVAILABLE: "Leaderboard unavailable",
    Reason.SERVICE_AWAY: "Service unavailable",
    Reason.DEADLINE_EXCEEDED: "Timed out",
    Reason.INTERNAL: "Internal error",
}

#: The HTTP status of a JSON error body.
HTTP_STATUS = {
    Reason.INVALID_ARGUMENT: 400,
    Reason.NONCE_MALFORMED: 400,
    Reason.NONCE_EXPIRED: 400,
    Reason.NONCE_MISMATCH: 400,
    Reason.UNKNOWN_ACTION: 400,
    Reason.TOKEN_MISSING: 401,
    Reason.TOKEN_INVALID: 401,
    Reason.TOKEN_EXPIRED: 401,
    Reason.SESSION_REVOKED: 401,
    Reason.BAD_CREDENTIALS: 401,
    Reason.NOT_YOUR_SCORE: 403,
    Reason.SIGNATURE_INVALID: 403,
    Reason.SIGNATURE_MISSING: 403,
    Reason.SCOPE_MISSING: 403,
    Reason.SERVER_ONLY_ACTION: 403,
    Reason.BANNED: 403,
    Reason.UNKNOWN_USER: 404,
    Reason.UNKNOWN_BOARD: 404,
    Reason.NOT_FOUND: 404,
    Reason.NONCE_REUSED: 409,
    Reason.USERNAME_TAKEN: 409,
    Reason.RATE_LIMITED: 429,
    Reason.COOLDOWN: 429,
    Reason.CAP_REACHED: 429,
    Reason.QUEUE_FULL: 429,
    Reason.SLOW_CONSUMER: 429,
    Reason.TOO_LARGE: 413,
    Reason.BROKER_AWAY: 503,
    Reason.LEADERBOARD_UNAVAILABLE: 503,
    Reason.SERVICE_AWAY: 503,
    Reason.DEADLINE_EXCEEDED: 504,
    Reason.INTERNAL: 500,
}
