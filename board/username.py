"""Decides which usernames are good, and when two of them are the same.

Pure. Holds always: what passes fits the tables' checks and Postgres's index, and never holds a character that is
invisible in a way that would let one player pass for another.
"""

import unicodedata
from dataclasses import dataclass

from mesh.refusal import Refused, invalid

USERNAME_MAX = 100
#: Control, surrogate, private, unassigned, line and paragraph separators: nothing that a name can show.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Joiners that emoji and several scripts need; two names that differ in them alone are the same.
_JOINERS = "\u200c\u200d"
_VARIATION_SELECTORS = "".join(map(chr, range(0xFE00, 0xFE10)))
_WITHOUT_IGNORABLES = str.maketrans("", "", _JOINERS + _VARIATION_SELECTORS)


@dataclass(frozen=True, slots=True)
class Username:
    """A good name: as it is shown, and the key by which it is unique."""

    shown: str
    key: str


def check_username(text: str) -> Username:
    """Returns the name without outer spaces. Raises Refused(INVALID_ARGUMENT) when it breaks a rule."""
    shown = text.strip()
    if not shown or len(text) > USERNAME_MAX:
        raise _bad_username()
    if any(_is_hidden(character) for character in shown):
        raise invalid("username", "must not hold control or formatting characters")
    key = username_key(shown)
    # A single character may unfold to 18 under NFKC, past what an index entry holds.
    if not 1 <= len(key) <= USERNAME_MAX:
        raise _bad_username()
    return Username(shown, key)


def username_key(shown: str) -> str:
    """Returns what is compared: NFKC and case folding, without ignorable characters, runs of spaces as one."""
    text = shown.translate(_WITHOUT_IGNORABLES)
    # Twice, from decomposed text: folding and NFKC can each undo the other once (Unicode, D146).
    for form in ("NFD", "NFKC"):
        text = unicodedata.normalize(form, text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _is_hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category in _HIDDEN_CATEGORIES or (category == "Cf" and character not in _JOINERS)


def _bad_username() -> Refused:
    return invalid("username", f"must be 1 to {USERNAME_MAX} characters")
