"""Makes refresh tokens, and what is stored of them.

Pure. A token is 256 random bits; the table holds its SHA-256. A successor is derived from the hash of the token before
it, so that a repeat of a lost answer can be answered with the same successor although no token is stored.
Holds always: without the master key nobody makes a successor, not even from a copy of the table.
"""

import hashlib
import hmac

from mesh.keys import b64url, b64url_decode
from scoreboard.v1 import signing

TOKEN_BYTES = 32


def token_hash(token: str) -> bytes | None:
    """Returns the hash that a token is stored under; None for what cannot be one of ours."""
    try:
        raw = b64url_decode(token)
    except ValueError:
        return None
    return hashlib.sha256(raw).digest() if len(raw) == TOKEN_BYTES else None


def first_token(random_bytes: bytes) -> str:
    """Returns a session's first token from 32 random bytes."""
    return b64url(random_bytes)


def successor(server_key: bytes, predecessor_hash: bytes) -> str:
    """Returns the token that follows the one with this hash."""
    return b64url(hmac.digest(server_key, predecessor_hash, "sha256"))


def is_signed(signing_key: bytes, token: str, signature: str) -> bool:
    """Says whether `x-signature` proves that the session's own client sends this token."""
    expected = signing.sign(signing_key, signing.refresh_payload(token))
    # HTTP headers may hold any bytes, which come here as lone surrogates.
    return hmac.compare_digest(expected.encode(), signature.encode(errors="backslashreplace"))
