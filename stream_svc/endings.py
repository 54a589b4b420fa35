"""Every way in which a stream ends by our decision: name, WebSocket close code, reason, text, reconnect or not.

4000 to 4999 are an application's own codes (RFC 6455, section 7.4.2); the others are the registry's.
"""

from dataclasses import dataclass

from mesh.reasons import Reason
from mesh.refusal import Refused


@dataclass(frozen=True, slots=True)
class Ending:
    """One ending. gRPC streams end with `reason`, WebSockets with `close_code`; both say `text`."""

    name: str
    close_code: int
    reason: Reason
    text: str
    reconnect: bool
    retry_after_s: float | None = None

    def refused(self) -> Refused:
        """Returns the status that a gRPC stream ends with."""
        return Refused(self.reason, self.text, retry_after_s=self.retry_after_s)


RESTART = Ending(
    "RESTART", 1012, Reason.SERVICE_AWAY, "The service restarts: reconnect.", reconnect=True, retry_after_s=1
)
TRY_AGAIN_LATER = Ending(
    "TRY_AGAIN_LATER",
    1013,
    Reason.LEADERBOARD_UNAVAILABLE,
    "The board cannot be read right now: reconnect later.",
    reconnect=True,
    retry_after_s=1,
)
SLOW_CONSUMER = Ending(
    "SLOW_CONSUMER",
    4008,
    Reason.SLOW_CONSUMER,
    "Frames were not read in time: reconnect for a fresh snapshot.",
    reconnect=True,
    retry_after_s=1,
)
TOKEN_EXPIRED = Ending(
    "TOKEN_EXPIRED",
    4001,
    Reason.TOKEN_EXPIRED,
    "The access token has expired: get a new one with the refresh token and reconnect.",
    reconnect=True,
)
SESSION_REVOKED = Ending(
    "SESSION_REVOKED",
    4003,
    Reason.SESSION_REVOKED,
    "The session was logged out: log in again, or watch without a token.",
    reconnect=False,
)
PROTOCOL_ERROR = Ending(
    "PROTOCOL_ERROR", 1002, Reason.INVALID_ARGUMENT, "The frame breaks the WebSocket protocol.", reconnect=False
)
NOT_UTF8 = Ending("NOT_UTF8", 1007, Reason.INVALID_ARGUMENT, "A text frame must be UTF-8.", reconnect=False)
TOO_LARGE = Ending("TOO_LARGE", 1009, Reason.TOO_LARGE, "A message is at most 4096 bytes.", reconnect=False)

ALL = (
    RESTART,
    TRY_AGAIN_LATER,
    SLOW_CONSUMER,
    TOKEN_EXPIRED,
    SESSION_REVOKED,
    PROTOCOL_ERROR,
    NOT_UTF8,
    TOO_LARGE,
)
