"""Finds what became of an update, for its player or its reporter: the ledger, the dead letters, the claim.

Holds always: another's update looks like none.
"""

from uuid import UUID

from mesh.identity import Identity
from mesh.reasons import Reason
from mesh.redis import AWAY
from mesh.refusal import Refused
from score_svc.accept import Acceptor, Held
from score_svc.answer import outcome
from score_svc.ledger import LedgerAway, LedgerReader, Row
from scoreboard.v1 import score_pb2

GAME_SERVER = "game_server"


async def find(
    text: str, identity: Identity, ledger: LedgerReader, acceptor: Acceptor
) -> score_pb2.UpdateScoreResponse:
    """Returns the outcome. Raises Refused: NOT_FOUND, or SERVICE_AWAY where that cannot be known."""
    update_id = _parse(text)
    is_all_asked = True
    try:
        row = await ledger.outcome(update_id) or await ledger.dead_letter(update_id)
    except LedgerAway:
        row, is_all_asked = None, False
    if row is not None:
        if not _is_own(row, identity):
            raise _not_found()
        return outcome(update_id, row.result)
    held: Held | None = None
    try:
        held = await acceptor.look_up(update_id)
    except AWAY:
        is_all_asked = False
    if held is not None and held.by == identity.subject:
        return outcome(update_id, held.result)
    if not is_all_asked:
        raise Refused(Reason.SERVICE_AWAY, "Updates cannot be looked up right now; try again.", retry_after_s=1)
    raise _not_found()


def _parse(text: str) -> UUID:
    try:
        update_id = UUID(text) if len(text) == 36 else None
    except ValueError:
        update_id = None
    if update_id is None:
        raise _not_found()
    return update_id


def _is_own(row: Row, identity: Identity) -> bool:
    return (row.reporter if identity.role == GAME_SERVER else row.user_id) == identity.subject


def _not_found() -> Refused:
    return Refused(Reason.NOT_FOUND, "There is no such update of yours.")
