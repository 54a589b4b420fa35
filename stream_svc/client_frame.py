"""Decides what a WebSocket client's text message asks for.

Pure. Holds always: a message asks for one thing, and what passes here is within the contract's ranges.
"""

from dataclasses import dataclass

import orjson

from mesh.refusal import Refused, invalid
from stream_svc.wish import Wish, wish_of

MESSAGE_BYTES_MAX = 4096  # ten boards are 800 bytes, a token below 1,000
BOARDS_MAX = 10


@dataclass(frozen=True, slots=True)
class Watch:
    """Replaces the set of watched boards; an empty one watches nothing."""

    wishes: tuple[Wish, ...]


@dataclass(frozen=True, slots=True)
class Authorize:
    """Brings an access token, as the header `authorization` would."""

    header: str


def parse(message: bytes) -> Watch | Authorize:
    """Returns what a message asks for. Raises Refused(INVALID_ARGUMENT) for anything else."""
    try:
        tree = orjson.loads(message)
    except orjson.JSONDecodeError as e:
        raise _not_a_frame() from e
    match tree:
        case {"watch": list(boards), **rest} if not rest:
            return Watch(_wishes(boards))
        case {"authorization": str(header), **rest} if not rest:
            return Authorize(header)
        case _:
            raise _not_a_frame()


def _wishes(boards: list[object]) -> tuple[Wish, ...]:
    if len(boards) > BOARDS_MAX:
        raise invalid("watch", f"must name at most {BOARDS_MAX} boards")
    wishes = tuple(_wish(board) for board in boards)
    if len({wish.board for wish in wishes}) < len(wishes):
        raise invalid("watch", "must name each board once")
    return wishes


def _wish(board: object) -> Wish:
    if not isinstance(board, dict) or not board.keys() <= {"board", "limit"}:
        raise invalid("watch", 'must be a list of {"board": NAME, "limit": ROWS}')
    name, limit = board.get("board", ""), board.get("limit")
    if not isinstance(name, str):
        raise invalid("board", "must be a string")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise invalid("limit", "must be a whole number")
    return wish_of(name, limit)


def _not_a_frame() -> Refused:
    return invalid("frame", 'must be {"watch": [{"board": NAME, "limit": ROWS}]} or {"authorization": "Bearer TOKEN"}')
