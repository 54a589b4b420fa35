"""Checks an update before it is claimed, in CONTRACT's order, and makes of it what can be claimed.

Pure but for the catalogue's look-up on a miss. The order: fields, user, the nonce's form, signature, action, the
nonce's seal and age. Holds always: nothing that fails a check reaches Redis or the queue.
"""

from dataclasses import dataclass

from board import keys as redis_keys
from board.catalogue import Action
from board.update_id import derive_update_id
from mesh.identity import Identity
from mesh.keys import MasterKeys
from mesh.reasons import Reason
from mesh.refusal import Refused, invalid
from score_svc import fields, nonce, signature
from score_svc.accept import Asked
from score_svc.catalogue import ActionsAndClients, TrustedClient
from score_svc.update import Update
from scoreboard.v1 import score_pb2

PLAYER_WINDOW_MS = 60_000
CLIENT_WINDOW_MS = 1_000


@dataclass(frozen=True, slots=True)
class Checks:
    """What updates are checked against. `updates_per_minute`: a player's, 0 for no limit."""

    keys: MasterKeys
    catalogue: ActionsAndClients
    updates_per_minute: int
    takes_client_nonces: bool

    async def player_update(
        self, request: score_pb2.UpdateScoreRequest, identity: Identity, signed: str | None, now_ms: int
    ) -> tuple[Update, Action]:
        """Returns a player's own update and its action. Raises Refused."""
        user_id, action_id, text = request.user_id, request.action_id, request.nonce
        value = _check_fields(request)
        if user_id != identity.subject:
            raise Refused(Reason.NOT_YOUR_SCORE, "The token is another player's than userId.")
        parsed = nonce.parse(text)
        if not (parsed.is_issued or self.takes_client_nonces):
            raise Refused(Reason.NONCE_MALFORMED, "Only nonces from IssueNonce are taken here.")
        signature.check(self.keys, identity, signed, user_id, action_id, text)
        action = await self.player_action(action_id)
        fields.check_value(action, value)
        nonce.check_seal(parsed, self.keys, user_id, action_id)
        is_expired = nonce.is_expired(parsed, now_ms)
        asked = Asked(
            update_id=derive_update_id(parsed.time_ms, reporter="", user_id=user_id, nonce=text),
            user_id=user_id,
            action_id=action_id,
            nonce=text,
            by=user_id,
            rate_key=redis_keys.rate(user_id),
            limit=self.updates_per_minute,
            window_ms=PLAYER_WINDOW_MS,
            session_id=identity.session_id,
        )
        return Update(asked, parsed, is_expired), action

    async def client_update(
        self, request: score_pb2.UpdateScoreRequest, client: TrustedClient, now_ms: int, since: float
    ) -> Update:
        """Returns an update that a trusted client reports, by a catalogue as of `since` or later. Raises Refused."""
        user_id, action_id, text = request.user_id, request.action_id, request.nonce
        value = _check_fields(request)
        parsed = nonce.parse(text)
        if parsed.is_issued:
            raise Refused(Reason.NONCE_MALFORMED, "A batch takes nonces that the client made: c. and a UUIDv7.")
        action = await self.catalogue.action(action_id, since)
        if action is None:
            raise fields.unknown_action(action_id)
        if client.actions is not None and action_id not in client.actions:
            raise Refused(Reason.SCOPE_MISSING, "This client may not report this action.", needed=action_id)
        fields.check_value(action, value)
        is_expired = nonce.is_expired(parsed, now_ms)
        asked = Asked(
            update_id=derive_update_id(parsed.time_ms, reporter=client.client_id, user_id=user_id, nonce=text),
            user_id=user_id,
            action_id=action_id,
            nonce=text,
            by=client.client_id,
            rate_key=redis_keys.rate(f"client:{client.client_id}"),
            limit=client.updates_per_second,
            window_ms=CLIENT_WINDOW_MS,
        )
        return Update(asked, parsed, is_expired, value, client.client_id)

    async def player_action(self, action_id: str) -> Action:
        """Returns an action that players may report. Raises Refused(UNKNOWN_ACTION or SERVER_ONLY_ACTION)."""
        action = await self.catalogue.action(action_id)
        if action is None:
            raise fields.unknown_action(action_id)
        if action.server_only:
            raise Refused(Reason.SERVER_ONLY_ACTION, "Only trusted servers report this action.", action_id=action_id)
        return action


def _check_fields(request: score_pb2.UpdateScoreRequest) -> int | None:
    fields.check_id("user_id", request.user_id)
    fields.check_id("action_id", request.action_id)
    if not request.nonce:
        raise invalid("nonce", "must not be empty")
    return fields.whole_number(request.value) if request.HasField("value") else None
