"""Derives the key of a ledger row from the nonce that it was asked with.

Pure. UUIDv7 in form, so that rows sort and partition by time: 48 bits of the nonce's milliseconds, version, variant,
and 74 bits of a digest over who asked for whom with which nonce. Holds always: the same nonce gives the same id, and
two players or two reporters never share one.
"""

from datetime import datetime
from hashlib import sha256
from uuid import UUID

from board.instant import to_us

_TIME_BITS = 48
_LOW_BITS = 62  # of the 74, those after the variant
_VERSION = 7 << 76
_VARIANT = 2 << _LOW_BITS


def derive_update_id(nonce_time_ms: int, *, reporter: str, user_id: str, nonce: str) -> UUID:
    """Returns the update's id.

    nonce_time_ms: the nonce's own time, unix milliseconds. reporter: the trusted client's id, empty for the player.
    Raises ValueError for a time outside 48 bits.
    """
    digest = sha256("\n".join((reporter, user_id, nonce)).encode()).digest()
    bits = int.from_bytes(digest[:10], "big") >> 6  # the first 74 of 80
    high, low = bits >> _LOW_BITS, bits & ((1 << _LOW_BITS) - 1)
    return UUID(int=_time_field(nonce_time_ms) | _VERSION | high << 64 | _VARIANT | low)


def reversal_id(update_id: UUID) -> UUID:
    """Returns the id of an update's reversal: always the same, so that it counts once however often it is asked for."""
    # No reporter and no user has this name: it cannot meet an update's id.
    return derive_update_id(time_ms(update_id), reporter="@reversal", user_id="@", nonce=update_id.hex)


def first_id(instant: datetime) -> UUID:
    """Returns the lowest id of the instant's millisecond: where a partition of the ledger begins."""
    return UUID(int=_time_field(to_us(instant) // 1000) | _VERSION | _VARIANT)


def time_ms(update_id: UUID) -> int:
    """Returns the milliseconds since 1970 that an id carries."""
    return update_id.int >> 80


def _time_field(ms: int) -> int:
    if not 0 <= ms < 1 << _TIME_BITS:
        raise ValueError(f"{ms} ms lies outside a UUIDv7")
    return ms << 80
