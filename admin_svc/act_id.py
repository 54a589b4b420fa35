"""Derives the keys of acts: what is to happen once has one key, however often and by whomever it is asked for.

Pure. Holds always: a key names its player, by the inner number, so that two players' locks never guard the same row of
the ledger. The user id would not do: a studio's id is free for a new player when its first one was erased.
"""

from uuid import UUID, uuid4

from board.ledger import Kind
from board.update_id import derive_update_id, time_ms

_DAY_MS = 86_400_000


def of_state(kind: Kind, ref: int, version: int, now_ms: int) -> UUID:
    """Returns the key of a change of a player's state that has this version now: the same all day long (UTC).

    Whoever asks again before it is done, another operator too, asks for the same; once it is done, the version is
    another one.
    """
    # No reporter has this name: it cannot meet an update's key.
    nonce = f"{kind.word} {version}"
    return derive_update_id(now_ms // _DAY_MS * _DAY_MS, reporter="@state", user_id=str(ref), nonce=nonce)


def of_request(request_id: UUID, operator: str, ref: int) -> UUID:
    """Returns the key of what an operator asks for under an id of his own."""
    return derive_update_id(time_ms(request_id), reporter=f"@{operator}", user_id=str(ref), nonce=request_id.hex)


def of_now(operator: str, ref: int, now_ms: int) -> UUID:
    """Returns a key of its own."""
    return derive_update_id(now_ms, reporter=f"@{operator}", user_id=str(ref), nonce=uuid4().hex)
