"""A player at a running mesh: signed up through the gateway, signing as the contract says."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from mesh.keys import b64url_decode
from scoreboard.v1 import auth_pb2, score_pb2, signing
from tests.e2e.protocols import Protocols

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Player:
    """What a session holds."""

    name: str
    session: auth_pb2.Session

    @property
    def bearer(self) -> dict[str, str]:
        """The header of a call that needs a token."""
        return {"authorization": f"Bearer {self.session.access_token}"}

    @property
    def key(self) -> bytes:
        """The signing key."""
        return b64url_decode(self.session.signing_key)

    def update(self, action: str = "win-round", nonce: str | None = None, user: str | None = None) -> Any:
        """A request for UpdateScore, by default of a fresh client nonce."""
        return score_pb2.UpdateScoreRequest(
            user_id=self.session.user_id if user is None else user,
            action_id=action,
            nonce=fresh_nonce() if nonce is None else nonce,
        )

    def signed(self, request: Any) -> dict[str, str]:
        """The headers of that request."""
        payload = signing.update_payload(request.user_id, request.action_id, request.nonce)
        return self.bearer | {"x-signature": signing.sign(self.key, payload)}


def fresh_nonce(ago_s: float = 0.0) -> str:
    """A client's own nonce, made so long ago (below 0: in the future)."""
    return signing.client_nonce(int((time.time() - ago_s) * 1000), secrets.token_bytes(10))


async def sign_up(protocols: Protocols) -> Player:
    """A new player."""
    name = f"p-{secrets.token_hex(6)}"
    said = await protocols.call("json", "Register", auth_pb2.RegisterRequest(username=name, password=PASSWORD), {})
    assert said.message is not None, said
    return Player(name, said.message)
