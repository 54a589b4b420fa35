"""Decides what a refresh token gets: its successor, the same successor again, or the end of the session.

Pure. Theft and a lost answer look alike without a signature, so an unsigned repeat ends the session (RFC 9700, 4.14.2);
a signed one is the player himself, as long as nobody went on from the successor.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from mesh.reasons import Reason
from mesh.refusal import Refused

REPEAT_WITHIN = timedelta(seconds=60)  # clients give up a call after seconds; a minute covers their retries
ACTIVE, BANNED, DELETED = 0, 1, 2


class Signature(Enum):
    """What a call's `x-signature` was."""

    ABSENT = auto()
    GOOD = auto()
    WRONG = auto()


class Answer(Enum):
    """What to do."""

    ROTATE = auto()  # spend the token, hand out its successor
    REPEAT = auto()  # hand out the same successor again
    REVOKE = auto()  # reuse: end the session


@dataclass(frozen=True, slots=True)
class Held:
    """What is stored of a token and its session, read under the session's row lock."""

    expires_at: datetime
    used_at: datetime | None
    successor_used: bool
    revoked_at: datetime | None
    user_state: int


def decide(held: Held, signature: Signature, now: datetime) -> Answer:
    """Returns what to do. Raises Refused: SESSION_REVOKED, TOKEN_EXPIRED, BANNED or SIGNATURE_INVALID."""
    if held.revoked_at is not None or held.user_state == DELETED:
        raise session_revoked()
    if now >= held.expires_at:
        raise Refused(Reason.TOKEN_EXPIRED, "The session is over: log in again.")
    if held.user_state == BANNED:
        raise banned()
    if held.used_at is None:
        if signature is Signature.WRONG:
            raise Refused(Reason.SIGNATURE_INVALID, "The signature does not fit the session and the refresh token.")
        return Answer.ROTATE
    fresh = now - held.used_at <= REPEAT_WITHIN and not held.successor_used
    return Answer.REPEAT if fresh and signature is Signature.GOOD else Answer.REVOKE


def banned() -> Refused:
    """Returns the refusal of a player whom an operator banned."""
    return Refused(Reason.BANNED, "This player was banned.")


def session_revoked() -> Refused:
    """Returns the refusal of a session that was ended."""
    return Refused(Reason.SESSION_REVOKED, "The session was ended: log in again.")
