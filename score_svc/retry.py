"""Decides what a request for an update meets: CONTRACT.md, "What a retry meets", as a table of values.

Pure. score_svc/accept.py and score_svc/ledger.py find out, score_svc/service.py acts. Holds always: nothing is
answered as counted that the ledger or a stored result does not say.
"""

from enum import Enum, auto
from typing import NamedTuple

YOUNG_MS = 10_000  # a claim is seconds old at most when a younger nonce is retried, so that its loss is rare
JUST_LOST_S = 10.0  # as long as a nonce counts as young, claims may be missing that were never written


class Claim(Enum):
    """What Redis says of a nonce."""

    NEW = auto()
    """It was not claimed; it is now."""
    SEEN = auto()
    """It was claimed for this very payload."""
    REUSED = auto()
    """It was claimed for another payload."""
    LIMITED = auto()
    """It was not claimed, and the asker's rate leaves no room."""
    ABSENT = auto()
    """It was not claimed, and still is not: only looked at."""
    DENIED = auto()
    """The session was logged out."""
    AWAY = auto()
    """Redis did not answer."""


class Step(Enum):
    """What to do next."""

    ANSWER = auto()
    """Give the stored result."""
    ASK_LEDGER = auto()
    """Ask the ledger by key; its row is the answer."""
    CLAIM = auto()
    """Claim the nonce."""
    PUBLISH = auto()
    """Publish the job with its `accepted_at`, and wait for the result."""
    REFUSE_REUSED = auto()
    REFUSE_EXPIRED = auto()
    REFUSE_LIMITED = auto()
    REFUSE_DENIED = auto()
    REFUSE_AWAY = auto()


class Ledger(Enum):
    """What the ledger says of the key."""

    UNASKED = auto()
    ABSENT = auto()
    SAME = auto()
    """A row of this action."""
    OTHER = auto()
    """A row of another action."""
    AWAY = auto()


class Age(NamedTuple):
    """What is known of a nonce's time."""

    is_expired: bool
    age_ms: int
    is_redis_just_lost: bool = False

    @property
    def needs_ledger(self) -> bool:
        """Whether a missing claim may be a lost one."""
        return self.is_expired or self.is_redis_just_lost or self.age_ms > YOUNG_MS


def looks_first(age: Age) -> bool:
    """Tells whether Redis is only looked at to begin with, since the ledger comes before the claim."""
    return age.needs_ledger


def next_step(claim: Claim, has_result: bool, age: Age, ledger: Ledger = Ledger.UNASKED) -> Step:
    """Returns what to do, given what Redis answered last and what the ledger is known to say."""
    if ledger is Ledger.SAME:
        return Step.ANSWER
    if ledger is Ledger.OTHER:
        return Step.REFUSE_REUSED
    match claim:
        case Claim.DENIED:
            return Step.REFUSE_DENIED
        case Claim.REUSED:
            return Step.REFUSE_REUSED
        case Claim.LIMITED:
            return Step.REFUSE_LIMITED
        case Claim.NEW:
            return Step.PUBLISH
        case Claim.SEEN if has_result:
            return Step.ANSWER
        case Claim.SEEN:
            return Step.ASK_LEDGER if ledger is Ledger.UNASKED else Step.PUBLISH
        case Claim.ABSENT | Claim.AWAY:
            return _without_claim(claim, age, ledger)


def _without_claim(claim: Claim, age: Age, ledger: Ledger) -> Step:
    if ledger is Ledger.UNASKED:
        return Step.ASK_LEDGER
    if age.is_expired:
        # Only a ledger that was asked can say "not recorded".
        return Step.REFUSE_EXPIRED if ledger is Ledger.ABSENT else Step.REFUSE_AWAY
    return Step.CLAIM if claim is Claim.ABSENT else Step.PUBLISH
