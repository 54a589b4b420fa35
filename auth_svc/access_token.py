"""Makes access tokens (RFC 9068) for players and trusted clients.

Pure: time and the random id are arguments. Holds always: what a token says is what mesh/identity.py and the gateway
check: `typ` at+jwt, issuer, audience, scope and role.
"""

from dataclasses import dataclass
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from auth_svc.key_wrap import ALGORITHM
from mesh.identity import ROLES

PLAYER_SCOPE = "update:score read:leaderboard"
_REPORTER_SCOPE, _OPERATOR_SCOPE = "update:score", "operate:scoreboard"


def client_scope(role: int) -> str:
    """Returns what a trusted client may do: game servers report scores, and no other does."""
    return _REPORTER_SCOPE if ROLES[role] == "game_server" else _OPERATOR_SCOPE


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token is for; sid and master_key_id only for a session."""

    subject: str
    role: int
    scope: str
    sid: UUID | None = None
    master_key_id: int = 0

    def claims(self) -> dict[str, object]:
        """Returns the bearer's part of the claims."""
        claims: dict[str, object] = {"sub": self.subject, "role": ROLES[self.role], "scope": self.scope}
        if self.sid is None:
            # RFC 9068, 2.2: tokens of the client_credentials grant name the client as both.
            return {**claims, "client_id": self.subject}
        return {**claims, "sid": str(self.sid), "skid": self.master_key_id}


@dataclass(frozen=True, slots=True)
class Issuer:
    """What all tokens of a deployment share; life_s in seconds."""

    name: str
    audience: str
    life_s: int
    region: str

    def sign(self, bearer: Bearer, key: tuple[str, ec.EllipticCurvePrivateKey], now_s: int, token_id: str) -> str:
        """Returns the token, signed by `key` = (kid, private key)."""
        kid, private_key = key
        claims = {
            **bearer.claims(),
            "iss": self.name,
            "aud": self.audience,
            "iat": now_s,
            "exp": now_s + self.life_s,
            "jti": token_id,
            # Where the bearer's data is: what routes calls between regions reads it.
            "region": self.region,
        }
        return jwt.encode(claims, private_key, ALGORITHM, headers={"kid": kid, "typ": "at+jwt"})
