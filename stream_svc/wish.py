"""Decides what a watcher may ask for: the limits and defaults of the contract.

Pure. Holds always: what passes here is within the contract's ranges.
"""

import math
from dataclasses import dataclass

from mesh.refusal import invalid
from scoreboard.v1.stream_pb2 import WatchLeaderboardRequest

BOARD_DEFAULT = "all"
BOARD_CHARACTERS_MAX = 50
LIMIT_DEFAULT, LIMIT_MAX = 10, 100


@dataclass(frozen=True, slots=True)
class Wish:
    """One board to watch, and how many of its rows."""

    board: str = BOARD_DEFAULT
    limit: int = LIMIT_DEFAULT


def wish_of(board: str, limit: int | None) -> Wish:
    """Returns the wish, defaults filled in. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    if len(board) > BOARD_CHARACTERS_MAX:
        raise invalid("board", f"must have at most {BOARD_CHARACTERS_MAX} characters")
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise invalid("limit", f"must be 1 to {LIMIT_MAX}")
    return Wish(board or BOARD_DEFAULT, LIMIT_DEFAULT if limit is None else limit)


def wish_of_request(request: WatchLeaderboardRequest) -> Wish:
    """Returns the wish of a gRPC call. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    if not math.isfinite(request.version) or request.version < 0:
        raise invalid("version", "must be a version that was sent before, or 0")
    return wish_of(request.board, request.limit if request.HasField("limit") else None)
