"""What goes wrong on a developer's machine, as a sentence and its cure."""

from __future__ import annotations


class Trouble(Exception):  # noqa: N818  # it tells a person what to mend, like mesh's Refused
    """A failure that a person can mend: what happened, then what to do about it."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}\n{cure}")
        self.what = what
        self.cure = cure
