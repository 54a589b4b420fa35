"""Decides what a nonce is: its two forms, its seal, and its life.

Pure: time and chance are arguments. `s.` was issued and sealed here for one player and action; `c.` is a UUIDv7 that
the client made. Holds always: what `parse` lets through has exactly one spelling, so that two spellings are never
two updates.
"""

import hmac
from typing import NamedTuple

from mesh.keys import MasterKeys, b64url, b64url_decode
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.v1.signing import NONCE_CHARS_MAX, uuid7

LIFE_MS = 300_000
AHEAD_MS = 30_000  # clocks of devices that were set by the server's time at login differ by less

_KEY_ID = slice(0, 2)
_ID = slice(2, 18)
_EXPIRY = slice(18, 24)
_MAC = slice(24, 56)
_SEALED_BYTES = 56
_MESSAGE = "A nonce is s. and what IssueNonce gave, or c. and the base64url of a fresh UUIDv7's 16 bytes."


class Nonce(NamedTuple):
    """A nonce of good form. `sealed` is empty for the client's own form."""

    text: str
    time_ms: int
    sealed: bytes = b""

    @property
    def is_issued(self) -> bool:
        """Whether a server claims to have issued it; `check` says whether one did."""
        return bool(self.sealed)

    def age_ms(self, now_ms: int) -> int:
        """Milliseconds since it was made, by its own word; below 0 when it lies ahead."""
        return now_ms - self.time_ms


def issue(
    keys: MasterKeys, user_id: str, action_id: str, now_ms: int, random_bytes: bytes, life_ms: int = LIFE_MS
) -> str:
    """Returns a sealed nonce for one player and one action; `random_bytes`: 10 of them."""
    head = keys.current.to_bytes(2, "big") + uuid7(now_ms, random_bytes) + (now_ms + life_ms).to_bytes(6, "big")
    return "s." + b64url(head + _mac(keys, head, user_id, action_id))


def parse(text: str) -> Nonce:
    """Returns the nonce that a text spells. Raises Refused(NONCE_MALFORMED)."""
    form, data = text[:2], b""
    if len(text) <= NONCE_CHARS_MAX and form in ("s.", "c."):
        try:
            data = b64url_decode(text[2:])
        except ValueError:
            data = b""
    if form == "c." and len(data) == 16:
        uuid, sealed = data, b""
    elif form == "s." and len(data) == _SEALED_BYTES:
        uuid, sealed = data[_ID], data
    else:
        raise Refused(Reason.NONCE_MALFORMED, _MESSAGE)
    if uuid[6] >> 4 != 7 or uuid[8] >> 6 != 2:
        raise Refused(Reason.NONCE_MALFORMED, _MESSAGE)
    return Nonce(text, int.from_bytes(uuid[:6], "big"), sealed)


def check_seal(nonce: Nonce, keys: MasterKeys, user_id: str, action_id: str) -> None:
    """Raises Refused(NONCE_MISMATCH) unless it was issued to this player for this action, or is a client's own."""
    if not nonce.is_issued:
        return
    head = nonce.sealed[: _EXPIRY.stop]
    try:
        expected = _mac(keys, head, user_id, action_id)
    except KeyError:  # a key that is not ours, or no longer
        expected = b""
    if not hmac.compare_digest(expected, nonce.sealed[_MAC]):
        raise Refused(Reason.NONCE_MISMATCH, "This nonce was not issued to this player for this action: get a new one.")


def is_expired(nonce: Nonce, now_ms: int, life_ms: int = LIFE_MS) -> bool:
    """Tells whether its life is over. Raises Refused(NONCE_MALFORMED) for one too far ahead of `now_ms`."""
    if nonce.is_issued:
        return now_ms > int.from_bytes(nonce.sealed[_EXPIRY], "big")
    if nonce.age_ms(now_ms) < -AHEAD_MS:
        raise Refused(
            Reason.NONCE_MALFORMED,
            f"The nonce's time lies more than {AHEAD_MS // 1000} s ahead: set the clock by server_time.",
            ahead_max_s=AHEAD_MS // 1000,
        )
    return nonce.age_ms(now_ms) > life_ms


def expired() -> Refused:
    """Returns the refusal of a nonce whose life is over and that nothing was recorded under."""
    return Refused(
        Reason.NONCE_EXPIRED,
        f"The nonce's life of {LIFE_MS // 60_000} minutes is over; the update was not recorded so far: use a new one.",
        life_s=LIFE_MS // 1000,
    )


def _mac(keys: MasterKeys, head: bytes, user_id: str, action_id: str) -> bytes:
    key = keys.derive(int.from_bytes(head[_KEY_ID], "big"), "nonce")
    return hmac.digest(key, b"\n".join((head, user_id.encode(), action_id.encode())), "sha256")
