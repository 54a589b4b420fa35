"""What a check finds.

Pure. Holds always: what is not ok comes with its cure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it stands: a warning will want a hand, a failure wants it now."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer. found: what is the case; cure: what to do about it, empty where all is well."""

    check: str
    state: State
    found: str
    cure: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, State.OK, found)


def warning(check: str, found: str, cure: str) -> Finding:
    """It works, and will not for ever or not as it should."""
    return Finding(check, State.WARNING, found, cure)


def failed(check: str, found: str, cure: str) -> Finding:
    """A promise is broken, or may be before long."""
    return Finding(check, State.FAILED, found, cure)


def version(server: str, found: tuple[int, ...], *, least: tuple[int, ...], tested: frozenset[int]) -> Finding:
    """Judges a server's version. tested: the major versions that the tests ran with."""
    check, shown = f"{server} version", ".".join(map(str, found))
    if found < least:
        needed = ".".join(map(str, least))
        return failed(check, shown, f"{server} {needed} or newer is needed: run `make setup` and start the mesh again.")
    if found[0] not in tested:
        cure = f"Run `make test` before you rely on it; tested: {', '.join(map(str, sorted(tested)))}."
        return warning(check, f"{shown}, which the tests have not run with", cure)
    return ok(check, shown)
