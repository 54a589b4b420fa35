"""Decides which JWT key signs, which are published, and when the next one is made.

Pure. Holds always: a key is published for PUBLISH_AHEAD before it signs (the very first, or one that replaces none that
can sign, at once), and until the last token that it signed is over everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

JWKS_CACHE_S = 30  # how long the gateway and the services may show an older list
CLOCK_SKEW_S = 5  # what verifiers allow
#: Two lives of the cache, and time for every instance to have read the table.
PUBLISH_AHEAD = timedelta(seconds=3 * JWKS_CACHE_S)


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """When a key does what. can_sign: its private part could be unwrapped here."""

    kid: str
    publish_from: datetime
    sign_from: datetime
    retire_at: datetime | None
    can_sign: bool = True

    def is_published(self, now: datetime) -> bool:
        """True while verifiers should know it."""
        return self.publish_from <= now and (self.retire_at is None or now < self.retire_at)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A deployment's times, in seconds."""

    key_life_s: int
    token_life_s: int

    def retire_at(self, successor_signs_from: datetime) -> datetime:
        """Returns until when a key stays published after its successor begins to sign."""
        return successor_signs_from + timedelta(seconds=self.token_life_s + JWKS_CACHE_S + CLOCK_SKEW_S) + PUBLISH_AHEAD

    def next_sign_from(self, keys: Sequence[KeyTimes], now: datetime) -> datetime | None:
        """Returns when a key that is made now begins to sign; None when none is due."""
        if signer(keys, now) is None:
            # A little back: the clock is read over a network, and no instance may find the key not yet good.
            return now - timedelta(seconds=CLOCK_SKEW_S)
        newest = max(key.sign_from for key in keys if key.can_sign)
        due = newest + timedelta(seconds=self.key_life_s) - PUBLISH_AHEAD
        return now + PUBLISH_AHEAD if now >= due else None


def signer(keys: Sequence[KeyTimes], now: datetime) -> KeyTimes | None:
    """Returns the key that signs now: the newest whose time has come."""
    ready = [key for key in keys if key.can_sign and key.sign_from <= now and key.is_published(now)]
    return max(ready, key=lambda key: (key.sign_from, key.kid), default=None)
