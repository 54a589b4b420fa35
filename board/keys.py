"""Derives every Redis key and channel of the boards and of the guards, in this one place.

Pure. `{B}` in the documents is BoardKey.tag. Redis Cluster is not supported: scripts read `sb:users` beside a board's
keys.
"""

from uuid import UUID

from board.entry import BoardKey

USERS = "sb:users"  # hash: inner number in hex → version, user_id, username, between unit separators
REFS = "sb:refs"  # hash: user_id → inner number in hex
VIEW = "sb:view"  # hash: origin (id), source and newest of board/origin.py
BOARDS = "sb:boards"  # set: tags of the boards that have a view
META = "sb:b:%s:m"  # of a tag
FEED = "sb:feed"  # channel: "<tag> <epoch> <sequence>", and a traceparent of each sampled update behind it


def places(board: BoardKey) -> str:
    """Names the sorted set of a board: minus the points → order.encode_member."""
    return f"sb:b:{board.tag}:z"


def versions(board: BoardKey) -> str:
    """Names the hash of a board: inner number in hex → "version member", or "version -" when hidden."""
    return f"sb:b:{board.tag}:h"


def meta(board: BoardKey) -> str:
    """Names the hash that says whether a board may be read: state, epoch, seq, build, origin."""
    return META % board.tag


def new(key: str) -> str:
    """Names the twin of a board's key that a rebuild fills."""
    return f"{key}.new"


def old(key: str) -> str:
    """Names the twin of a board's key that a rebuild frees."""
    return f"{key}.old"


def claim(update_id: UUID) -> str:
    """Names the hash of a claimed nonce: digest, at, by, result."""
    return f"sb:claim:{update_id}"


def rate(user_id: str) -> str:
    """Names the sorted set of a player's claims of the last window."""
    return f"sb:rate:{user_id}"


def deny(sid: str) -> str:
    """Names the string that refuses a logged-out session's tokens."""
    return f"sb:deny:{sid}"
