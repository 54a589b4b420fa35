"""Decides which HTTP requests become WebSockets; the others get an answer with the error body.

Pure. Any origin may connect: boards are public, and a token comes in a frame, never by a cookie.
"""

from collections.abc import Mapping

import orjson

from mesh.reasons import PHRASES, Reason
from mesh.refusal import Refused

PATH = "/ws/leaderboard"
VERSION = "13"  # RFC 6455, section 4.1


def refusal_of(path: str, headers: Mapping[str, str]) -> tuple[int, Refused, dict[str, str]] | None:
    """Returns (HTTP status, refusal, headers) for a request that cannot become a WebSocket; None for one that can."""
    if path.partition("?")[0] != PATH:
        return 404, Refused(Reason.NOT_FOUND, f"There is nothing here; the WebSocket is at {PATH}."), {}
    upgrade = {token.strip().lower() for token in headers.get("upgrade", "").split(",")}
    if "websocket" not in upgrade or headers.get("sec-websocket-version") != VERSION:
        needed = {"Upgrade": "websocket", "Sec-WebSocket-Version": VERSION}
        message = f"This is a WebSocket: connect with a client for it, version {VERSION}."
        return 426, Refused(Reason.INVALID_ARGUMENT, message), needed
    return None


def error_body(refused: Refused) -> bytes:
    """Returns the error body that everything on the HTTP side shares."""
    body = {"success": False, "error": PHRASES[refused.reason], "message": refused.message, "reason": refused.reason}
    return orjson.dumps(body)
