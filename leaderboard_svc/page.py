"""Decides which rows a caller gets: the limits and defaults of the contract.

Pure. Holds always: what passes here is within the contract's ranges.
"""

from dataclasses import dataclass

from mesh.refusal import invalid
from scoreboard.v1.leaderboard_pb2 import GetAroundRequest, GetLeaderboardRequest

LIMIT_DEFAULT, LIMIT_MAX = 10, 100
OFFSET_MAX = 10_000
AROUND_DEFAULT, AROUND_MAX = 5, 50
BOARD_DEFAULT = "all"
NAME_CHARACTERS_MAX = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Rows `offset` to `offset + limit` of a board's period."""

    board: str
    period: str
    offset: int
    limit: int


def page_of(request: GetLeaderboardRequest) -> Page:
    """Returns the page that is asked for. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    limit = request.limit if request.HasField("limit") else LIMIT_DEFAULT
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid("limit", f"must be 1 to {LIMIT_MAX}")
    if not 0 <= request.offset <= OFFSET_MAX:
        raise invalid("offset", f"must be 0 to {OFFSET_MAX}")
    return Page(board_of(request.board), request.period, request.offset, limit)


def neighbours_of(request: GetAroundRequest) -> int:
    """Returns how many rows are wanted on each side. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    limit = request.limit if request.HasField("limit") else AROUND_DEFAULT
    if not 1 <= limit <= AROUND_MAX:
        raise invalid("limit", f"must be 1 to {AROUND_MAX}")
    return limit


def user_of(user_id: str) -> str:
    """Returns a user id that may exist. Raises Refused(INVALID_ARGUMENT) for one that cannot."""
    if not 1 <= len(user_id) <= NAME_CHARACTERS_MAX or "\0" in user_id:
        raise invalid("user_id", f"must have 1 to {NAME_CHARACTERS_MAX} characters")
    return user_id


def board_of(name: str) -> str:
    """Returns the board's name, `all` when none is given."""
    return name or BOARD_DEFAULT
