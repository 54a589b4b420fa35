"""Decides which HTTP requests become WebSockets; the others get an answer with the error body.

Pure. A page may connect when it is the gateway's own or its origin is listed, as with CORS; what is no browser sends no
origin. (Nothing hangs on it: boards are public, and a token comes in a frame, never by a cookie.)
"""

from collections.abc import Container, Mapping

import orjson

from mesh.reasons import Reason
from mesh.refusal import Refused, to_json

PATH = "/ws/leaderboard"
VERSION = "13"  # RFC 6455, section 4.1


def refusal_of(
    path: str, headers: Mapping[str, str], origins: Container[str] = ()
) -> tuple[int, Refused, dict[str, str]] | None:
    """Returns (HTTP status, refusal, headers) for a request that cannot become a WebSocket; None for one that can."""
    if path.partition("?")[0] != PATH:
        return 404, Refused(Reason.NOT_FOUND, f"There is nothing here; the WebSocket is at {PATH}."), {}
    upgrade = {token.strip().lower() for token in headers.get("upgrade", "").split(",")}
    if "websocket" not in upgrade or headers.get("sec-websocket-version") != VERSION:
        needed = {"Upgrade": "websocket", "Sec-WebSocket-Version": VERSION}
        message = f"This is a WebSocket: connect with a client for it, version {VERSION}."
        return 426, Refused(Reason.INVALID_ARGUMENT, message), needed
    if not _is_welcome(headers.get("origin"), headers.get("host", ""), origins):
        return (
            403,
            Refused(Reason.SCOPE_MISSING, "Pages of this origin may not connect: SCOREBOARD_ORIGINS lists who may."),
            {},
        )
    return None


def _is_welcome(origin: str | None, host: str, origins: Container[str]) -> bool:
    """origin: `https://board.example`; host: the one that the page connects to."""
    if origin is None or origin in origins:
        return True
    _, is_one, own_host = origin.lower().partition("://")  # `null` is none
    return bool(is_one) and own_host == host.lower()


def error_body(refused: Refused) -> bytes:
    """Returns the error body that everything on the HTTP side shares."""
    _, _, body = to_json(refused)
    return orjson.dumps(body)
