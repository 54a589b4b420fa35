"""Decides which passwords are good.

Pure.
"""

import unicodedata

from mesh.refusal import invalid

PASSWORD_MIN, PASSWORD_MAX = 8, 128


def check_password(text: str, field: str = "password") -> bytes:
    """Returns the bytes to hash. Raises Refused(INVALID_ARGUMENT) when it breaks a rule.

    NFC first: the same password typed on two systems may come composed or not (RFC 8265, 4.2).
    """
    password = unicodedata.normalize("NFC", text)
    if not PASSWORD_MIN <= len(text) <= PASSWORD_MAX:
        raise invalid(field, f"must be {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return password.encode()
