"""Decides which rows a caller gets: the limits and defaults of the contract.

Pure. Holds always: what passes here is within the contract's ranges.
"""

from dataclasses import dataclass

from mesh.refusal import invalid
from scoreboard.v1.leaderboard_pb2 import GetAroundRequest, GetGlobalLeaderboardRequest, GetLeaderboardRequest

LIMIT_DEFAULT, LIMIT_MAX = 10, 100
OFFSET_MAX = 10_000
AROUND_DEFAULT, AROUND_MAX = 5, 50
BOARD_DEFAULT = "all"
NAME_CHARACTERS_MAX = 50
INSTANT_US_MAX = 16**13 - 1  # what board/order.py has room for


@dataclass(frozen=True, slots=True)
class Page:
    """Rows `offset` to `offset + limit` of a board's period."""

    board: str
    period: str
    offset: int
    limit: int


def page_of(request: GetLeaderboardRequest) -> Page:
    """Returns the page that is asked for. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    limit, offset = limit_of(request), between("offset", request.offset, 0, OFFSET_MAX)
    return Page(board_of(request.board), request.period, offset, limit)


def limit_of(request: GetLeaderboardRequest | GetGlobalLeaderboardRequest) -> int:
    """Returns how many rows are wanted. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    return between("limit", request.limit if request.HasField("limit") else LIMIT_DEFAULT, 1, LIMIT_MAX)


def neighbours_of(request: GetAroundRequest) -> int:
    """Returns how many rows are wanted on each side. Raises Refused(INVALID_ARGUMENT) for what is out of range."""
    return between("limit", request.limit if request.HasField("limit") else AROUND_DEFAULT, 1, AROUND_MAX)


def between(field: str, value: int, least: int, most: int) -> int:
    """Returns the field's value. Raises Refused(INVALID_ARGUMENT) when it is out of range."""
    if not least <= value <= most:
        raise invalid(field, f"must be {least} to {most}")
    return value


def user_of(user_id: str) -> str:
    """Returns a user id that may exist. Raises Refused(INVALID_ARGUMENT) for one that cannot."""
    if not 1 <= len(user_id) <= NAME_CHARACTERS_MAX or "\0" in user_id:
        raise invalid("user_id", f"must have 1 to {NAME_CHARACTERS_MAX} characters")
    return user_id


def board_of(name: str) -> str:
    """Returns the board's name, `all` when none is given."""
    return name or BOARD_DEFAULT
