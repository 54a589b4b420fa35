"""Decides which passwords are good.

Pure. Whoever guesses begins with what most people choose, so that a new password must be none of those; one that was
set before stays good.
"""

import unicodedata

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from board.username import username_key
from mesh.refusal import invalid

PASSWORD_MIN, PASSWORD_MAX = 8, 128
#: The 30,000 most used ones of leaked lists, 11,000 of them long enough for here, and what this place is called.
COMMON = frozenset(FREQUENCY_LISTS["passwords"]) | {"scoreboard", "leaderboard"}


def check_password(text: str, field: str = "password") -> bytes:
    """Returns the bytes to hash. Raises Refused(INVALID_ARGUMENT) when it breaks a rule.

    NFC first: the same password typed on two systems may come composed or not (RFC 8265, 4.2).
    """
    password = unicodedata.normalize("NFC", text)
    if not PASSWORD_MIN <= len(text) <= PASSWORD_MAX:
        raise invalid(field, f"must be {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return password.encode()


def check_new_password(text: str, username: str, field: str = "password") -> bytes:
    """Returns the bytes to hash of a password that is to be set, beside this name (empty: the present one).

    Raises Refused(INVALID_ARGUMENT) when it breaks a rule.
    """
    secret = check_password(text, field)
    key = username_key(text)
    if key in COMMON or key == username_key(username):
        raise invalid(field, "must not be the username, or one that many people use")
    return secret
