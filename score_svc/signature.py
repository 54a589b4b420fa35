"""Decides whether an update was signed by the session whose token came with it.

Pure. The key is derived from the master key and the session id, so that nothing is looked up. Holds always: a
stolen token alone moves no score, and signatures are compared in constant time.
"""

import hmac

from mesh.identity import Identity
from mesh.keys import MasterKeys
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.v1.signing import sign, update_payload

HEADER = "x-signature"


def check(
    keys: MasterKeys, identity: Identity, signature: str | None, user_id: str, action_id: str, nonce: str
) -> None:
    """Raises Refused: SIGNATURE_MISSING, then SIGNATURE_INVALID; SESSION_REVOKED where its key was retired."""
    if not signature:
        raise Refused(Reason.SIGNATURE_MISSING, "The update is not signed: send its signature as X-Signature.")
    if not identity.session_id:
        raise Refused(Reason.SIGNATURE_INVALID, "This token has no session to sign with: trusted clients send batches.")
    try:
        key = keys.signing_key(identity.master_key_id, identity.session_id)
    except KeyError as e:
        raise Refused(Reason.SESSION_REVOKED, "The session's key was retired: log in again.") from e
    expected = sign(key, update_payload(user_id, action_id, nonce))
    if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
        raise Refused(Reason.SIGNATURE_INVALID, "The signature does not fit this session, player, action and nonce.")
