"""The version of a board that everyone sees: it never falls, over rebuilds and lost Redis servers too.

Pure. A rebuild takes the next epoch from a sequence in Postgres and starts the count of changes anew.
"""

_SEQUENCE_BITS = 32  # epoch · 2^32 stays below 2^53, which a double holds, for two million rebuilds


def shown_version(epoch: int, sequence: int) -> int:
    """Returns epoch · 2^32 + sequence."""
    return (epoch << _SEQUENCE_BITS) + sequence


def split_version(version: int) -> tuple[int, int]:
    """Returns (epoch, sequence) of a shown version."""
    return version >> _SEQUENCE_BITS, version & ((1 << _SEQUENCE_BITS) - 1)
