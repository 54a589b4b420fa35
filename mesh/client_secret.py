"""Secrets of trusted clients: how they are made, stored and checked; the CLI makes them, auth_svc checks them.

Pure but for chance. A secret is 256 random bits, so one SHA-256 of it is enough: a slow hash protects what people
choose, and nobody searches 2^256. Holds always: the comparison takes the same time wherever the secrets differ.
"""

import hashlib
import hmac
import secrets

SECRET_BYTES = 32
_FORM = "sha256$"


def new_secret() -> str:
    """Returns a new secret, 43 characters of base64url."""
    return secrets.token_urlsafe(SECRET_BYTES)


def secret_hash(secret: str) -> str:
    """Returns what is stored of a secret."""
    return _FORM + hashlib.sha256(secret.encode()).hexdigest()


def secret_matches(secret: str, stored: str) -> bool:
    """Says whether `stored` was made of this secret."""
    return hmac.compare_digest(secret_hash(secret).encode(), stored.encode())
