"""Decides whether the fields of an update can be read at all.

Pure. Holds always: an id that passes has 1 to 50 printable characters, no line feed among them, so that joined ids
in signatures, digests and keys cannot be mistaken for others.
"""

import math

from board.catalogue import Action
from mesh.reasons import Reason
from mesh.refusal import Refused, invalid

ID_CHARS_MAX = 50
NOT_VALID = "The provided userId or actionId is not valid."


def check_id(field: str, value: str) -> None:
    """Raises Refused(INVALID_ARGUMENT) unless it is an id; `field` is user_id or action_id."""
    if not 1 <= len(value) <= ID_CHARS_MAX or not value.isprintable():
        raise Refused(Reason.INVALID_ARGUMENT, NOT_VALID, field=field)


def whole_number(value: float) -> int:
    """Returns the whole number that a double holds. Raises Refused(INVALID_ARGUMENT)."""
    if not math.isfinite(value) or not value.is_integer() or abs(value) > 2**53:
        raise invalid("value", "must be a whole number")
    return int(value)


def check_value(action: Action, value: int | None) -> None:
    """Raises Refused(INVALID_ARGUMENT) unless the value is what the action takes: one in its range, or none."""
    if not action.takes_value:
        if value is not None:
            raise invalid("value", "must be absent: this action has its points in the catalogue")
        return
    assert action.value_min is not None
    assert action.value_max is not None
    if value is None or not action.value_min <= value <= action.value_max:
        raise invalid("value", f"must be {action.value_min} to {action.value_max}")


def unknown_action(action_id: str) -> Refused:
    """Returns the refusal of an action that the catalogue lacks or has switched off."""
    return Refused(Reason.UNKNOWN_ACTION, NOT_VALID, action_id=action_id, field="action_id")
