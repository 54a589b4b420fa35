"""Decides how a result is told: as a response, as an outcome among others, or as a refusal with its reason.

Pure: time is an argument. Holds always: a score is told only where a result says that it was committed.
"""

from datetime import datetime
from uuid import UUID

from board.catalogue import Action
from board.job_pb2 import Result
from board.ledger import PARKED
from mesh.reasons import Reason
from mesh.refusal import Refused
from scoreboard.v1 import score_pb2

APPLIED = 0  # Result.outcome, as score_logs.outcome

_SENTENCES = {
    Reason.BANNED: "This player was banned.",
    Reason.COOLDOWN: "This action was counted a short while ago; a new update of it counts later.",
    Reason.CAP_REACHED: "This action counts only so often in its window; a new update of it counts in the next.",
    Reason.UNKNOWN_USER: "There is no such player.",
    Reason.UNKNOWN_ACTION: "The provided userId or actionId is not valid.",
    Reason.NONCE_REUSED: "This nonce was used for another update: use a new one.",
}


def outcome(update_id: UUID, result: Result | None) -> score_pb2.UpdateScoreResponse:
    """Returns a result as UpdateScores and GetUpdate tell it; None: PENDING."""
    response = score_pb2.UpdateScoreResponse(update_id=str(update_id))
    if result is None:
        response.success, response.status = True, score_pb2.PENDING
    elif result.outcome == APPLIED:
        response.success, response.status = True, score_pb2.APPLIED
        response.new_score, response.points = float(result.score_after), float(result.points)
        response.username = result.username
    else:
        response.status = score_pb2.PARKED if result.outcome == PARKED else score_pb2.REFUSED
        response.reason, response.username = result.reason, result.username
    return response


def refused_item(update_id: UUID | None, refused: Refused) -> score_pb2.UpdateScoreResponse:
    """Returns an item of a batch that could not be accepted."""
    return score_pb2.UpdateScoreResponse(
        update_id="" if update_id is None else str(update_id), status=score_pb2.REFUSED, reason=refused.reason
    )


def refusal(result: Result, user_id: str, action: Action, now: datetime) -> Refused:
    """Returns a refused result as unary UpdateScore tells it; 429s say when a new update would count."""
    try:
        reason = Reason(result.reason)
    except ValueError:  # a reason of a newer worker
        reason = Reason.INTERNAL
    return Refused(
        reason,
        _SENTENCES.get(reason, "The update was refused."),
        retry_after_s=_wait_s(reason, action, now),
        update_id=UUID(bytes=result.update_id),
        user_id=user_id,
        action_id=action.action_id,
    )


def _wait_s(reason: Reason, action: Action, now: datetime) -> float | None:
    if reason is Reason.COOLDOWN:  # at the longest: when the counted one was, only the ledger knows
        return action.cooldown.total_seconds() if action.cooldown else 1.0
    if reason is Reason.CAP_REACHED:
        end = action.cap_window_start(now) + action.cap_window if action.cap_window else now
        return max(1.0, (end - now).total_seconds())
    return None
