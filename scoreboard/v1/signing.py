"""What a client signs, how it signs it, and how it makes its own nonces: the pure half of the contract.

Servers and clients use the same functions; docs/vectors/signature.json holds what both must arrive at.
Holds always: no part of a payload contains a line feed, so that two payloads are never the same bytes.
"""

import hmac
from base64 import urlsafe_b64encode

NONCE_CHARS_MAX = 128
_TIME_MS_MAX = (1 << 48) - 1


def update_payload(user_id: str, action_id: str, nonce: str) -> bytes:
    """Returns what `x-signature` of UpdateScore signs."""
    return f"scoreboard.v1.UpdateScore\n{user_id}\n{action_id}\n{nonce}".encode()


def refresh_payload(refresh_token: str) -> bytes:
    """Returns what the optional `x-signature` of Refresh signs: it makes a repeat safe."""
    return f"scoreboard.v1.Refresh\n{refresh_token}".encode()


def sign(key: bytes, payload: bytes) -> str:
    """Returns HMAC-SHA256 as base64url without padding; key: the base64url-decoded `signing_key` of the session."""
    return _b64url(hmac.digest(key, payload, "sha256"))


def uuid7(now_ms: int, random_bytes: bytes) -> bytes:
    """Returns a UUIDv7 (RFC 9562): unix milliseconds, then the bits of 10 random bytes. Raises ValueError."""
    if not 0 <= now_ms <= _TIME_MS_MAX or len(random_bytes) != 10:
        raise ValueError("a UUIDv7 takes 48 bits of milliseconds and 10 random bytes")
    data = bytearray(now_ms.to_bytes(6, "big") + random_bytes)
    data[6] = 0x70 | data[6] & 0x0F
    data[8] = 0x80 | data[8] & 0x3F
    return bytes(data)


def client_nonce(now_ms: int, random_bytes: bytes) -> str:
    """Returns a fresh nonce of the client's own form; `now_ms` by the server's clock, `random_bytes` 10 of them.

    Good from 5 minutes before to 30 s after the server's time. Raises ValueError.
    """
    return "c." + _b64url(uuid7(now_ms, random_bytes))


def _b64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
