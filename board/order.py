"""Decides who stands before whom: more points, then who was there first, then the lower inner number.

Pure. The same three are the sorting key of Postgres (`-score, reached_at, user_ref`), of Python (`sort_key`) and of
Redis, where a sorted set compares scores as doubles and equal ones by the bytes of the member. Holds always: within
the limits below, the three agree.
"""

from datetime import datetime

from board.instant import from_us, to_us

SCORE_MAX = 2**53  # whole numbers up to here are exact in JSON, in JavaScript and in Redis' doubles
_REACHED_DIGITS = 13  # 52 bits of microseconds: until the year 2112
_USER_DIGITS = 12  # 48 bits of inner numbers
# Made once: a board's rebuild encodes three numbers an entry.
_REACHED_END, _REACHED_FORMAT = 16**_REACHED_DIGITS, f"%0{_REACHED_DIGITS}x"
_USER_END, _USER_FORMAT = 16**_USER_DIGITS, f"%0{_USER_DIGITS}x"


def sort_key(score: int, reached_at: datetime, user_ref: int) -> tuple[int, datetime, int]:
    """Returns the key by which entries sort, best first."""
    return (-score, reached_at, user_ref)


def encode_user(user_ref: int) -> str:
    """Returns the inner number as fixed-width hex. Raises ValueError when it does not fit."""
    return _fixed_hex(user_ref, _USER_END, _USER_FORMAT)


def encode_reached(reached_at: datetime) -> str:
    """Returns the instant's microseconds as fixed-width hex. Raises ValueError before 1970 and after 2112."""
    return encode_reached_us(to_us(reached_at))


def encode_reached_us(reached_at_us: int) -> str:
    """Returns the same of Unix microseconds; raises as `encode_reached`."""
    return _fixed_hex(reached_at_us, _REACHED_END, _REACHED_FORMAT)


def encode_member(reached_at: datetime, user_ref: int) -> str:
    """Returns an entry's member of the sorted set, whose score is minus the points."""
    return encode_reached(reached_at) + encode_user(user_ref)


def decode_member(member: str) -> tuple[datetime, int]:
    """Returns (reached_at, user_ref) of a member. Raises ValueError for anything that `encode_member` does not make."""
    if len(member) != _REACHED_DIGITS + _USER_DIGITS:
        raise ValueError(f"not a member: {member!r}")
    return from_us(int(member[:_REACHED_DIGITS], 16)), int(member[_REACHED_DIGITS:], 16)


def reached_us(member: bytes) -> int:
    """Returns the microseconds of a member's instant, as Redis has members."""
    return int(member[:_REACHED_DIGITS], 16)


def _fixed_hex(number: int, end: int, format_: str) -> str:
    if not 0 <= number < end:
        raise ValueError(f"{number} does not fit into {len(format_ % (end - 1))} hex digits")
    return format_ % number
