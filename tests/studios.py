"""A studio's identity provider: what it publishes, and the tokens that it signs, good ones and any other."""

from __future__ import annotations

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from auth_svc.exchange import GRANT_TYPE, SUBJECT_TOKENS
from tests.jwks import Published, public_jwk

AUDIENCE, KID = "scoreboard-of-studio", "k1"


class Studio:
    """An issuer with one key; serve `published` for it to be believed."""

    def __init__(self, issuer: str, key: Any) -> None:
        self.issuer = issuer
        self.key = key
        self.published = Published(public_jwk(key, KID))

    @property
    def setting(self) -> dict[str, str]:
        """What SCOREBOARD_AUTH_EXCHANGE_ISSUERS lists of it."""
        return {"issuer": self.issuer, "jwks_url": self.published.url, "audience": AUDIENCE}

    def claims(self, subject: str, **changed: object) -> dict[str, object]:
        """The claims of a good token; None takes one away."""
        now = int(time.time())
        good = {"iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300}
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def token(self, subject: str, *, head: dict[str, object] | None = None, key: Any = None, **changed: object) -> str:
        """A good token, but for what is given."""
        algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
        headers = {"kid": KID, **(head or {})}
        return jwt.encode(self.claims(subject, **changed), key or self.key, algorithm, headers=headers)

    def form(self, subject: str, **changed: Any) -> dict[str, str]:
        """The exchange of such a token."""
        return exchange_form(self.token(subject, **changed))


def exchange_form(subject_token: str, **more: str) -> dict[str, str]:
    """The form that exchanges a token."""
    return {"grant_type": GRANT_TYPE, "subject_token": subject_token, "subject_token_type": SUBJECT_TOKENS[0], **more}
