"""Decides whether the fields of a request can be what they say.

Pure: the clock is an argument. Holds always: what passes can be asked of Postgres, and a reason is one line to read.
"""

import math
import unicodedata
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from board.instant import from_us
from board.order import SCORE_MAX
from board.update_id import time_ms
from mesh.refusal import invalid

NAME_CHARACTERS_MAX = 50
REASON_CHARACTERS_MAX = 500
REQUEST_AGE_MAX = timedelta(days=1)  # either way; its ledger row then lies in a partition that is there
_BREAKING = frozenset({"Cc", "Zl", "Zp"})  # control characters, line and paragraph separators


def reason(text: str, *, may_be_empty: bool = False) -> str:
    """Returns why something is done, without outer spaces. Raises Refused(INVALID_ARGUMENT)."""
    shown = text.strip()
    if len(shown) > REASON_CHARACTERS_MAX or not (shown or may_be_empty):
        raise invalid("reason", f"must have 1 to {REASON_CHARACTERS_MAX} characters")
    if any(unicodedata.category(character) in _BREAKING for character in shown):
        raise invalid("reason", "must not hold control characters")
    return shown


def name(field: str, text: str) -> str:
    """Returns an id or a name that may exist. Raises Refused(INVALID_ARGUMENT)."""
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX or "\0" in text:
        raise invalid(field, f"must have 1 to {NAME_CHARACTERS_MAX} characters")
    return text


def uuid(field: str, text: str) -> UUID:
    """Returns the UUID of its usual form of 36 characters. Raises Refused(INVALID_ARGUMENT)."""
    try:
        found = UUID(text) if len(text) == 36 else None
    except ValueError:
        found = None
    if found is None:
        raise invalid(field, "must be a UUID")
    return found


def request_id(text: str, now: datetime) -> UUID:
    """Returns the caller's own UUIDv7, made within a day of now. Raises Refused(INVALID_ARGUMENT)."""
    found = uuid("request_id", text)
    if found.version != 7 or abs(from_us(time_ms(found) * 1000) - now) > REQUEST_AGE_MAX:
        raise invalid("request_id", "must be a UUIDv7 that was made within a day of now")
    return found


def change(value: float) -> int:
    """Returns the points that a change adds. Raises Refused(INVALID_ARGUMENT)."""
    if not math.isfinite(value) or not value.is_integer() or not 0 < abs(value) <= SCORE_MAX:
        raise invalid("change", "must be a whole number other than 0, within 2^53 either way")
    return int(value)


def limit(given: int | None, default: int, at_most: int) -> int:
    """Returns how many are wanted. Raises Refused(INVALID_ARGUMENT)."""
    found = default if given is None else given
    if not 1 <= found <= at_most:
        raise invalid("limit", f"must be 1 to {at_most}")
    return found


def instant(field: str, text: str) -> datetime | None:
    """Returns an instant of RFC 3339, None for an empty text. Raises Refused(INVALID_ARGUMENT)."""
    if not text:
        return None
    stamp = Timestamp()
    try:
        stamp.FromJsonString(text)
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as e:
        raise invalid(field, "must be an instant of RFC 3339, such as 2026-11-27T00:00:00Z") from e
