"""Instants as the queue and Redis carry them (whole microseconds since 1970) and as Python does.

Pure. Holds always: the way there and back changes nothing, since no float is involved.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """Returns the instant that lies `us` microseconds after 1970, in UTC."""
    return EPOCH + us * _MICROSECOND


def to_us(instant: datetime) -> int:
    """Returns the microseconds from 1970 to an instant with a zone."""
    return (instant - EPOCH) // _MICROSECOND
