"""What score_svc counts of updates: what became of their claims, of the jobs, and what their senders were told."""

from collections import Counter
from collections.abc import Iterable

from mesh import metrics
from mesh.reasons import Reason
from score_svc.retry import Claim
from scoreboard.v1 import score_pb2

ACCEPTED = metrics.counter("scoreboard_score_accepted_total").child()
HEALED = metrics.counter("scoreboard_score_healed_total").child()
ON_WAY = metrics.gauge("scoreboard_score_on_way")
_ANSWERS = metrics.counter("scoreboard_score_answers_total")
_CLAIMS = metrics.counter("scoreboard_score_claims_total")
_BY_CLAIM = {claim: _CLAIMS.child(claim.name.lower()) for claim in Claim}
_STATUSES = {
    score_pb2.APPLIED: "applied",
    score_pb2.REFUSED: "refused",
    score_pb2.PENDING: "pending",
    score_pb2.PARKED: "parked",
}
_BY_STATUS = {status: _ANSWERS.child(word, "") for status, word in _STATUSES.items()}


def answered(response: score_pb2.UpdateScoreResponse) -> None:
    """Counts the answer of a call that was not refused."""
    _BY_STATUS[response.status].inc()


def refused(reason: Reason) -> None:
    """Counts the answer of a call that was."""
    _ANSWERS.child("refused", reason).inc()


def batch_answered(responses: Iterable[score_pb2.UpdateScoreResponse]) -> None:
    """Counts the answers of a batch."""
    for (status, reason), count in Counter((each.status, each.reason) for each in responses).items():
        _ANSWERS.child(_STATUSES[status], reason if status == score_pb2.REFUSED else "").inc(count)


def claimed(claims: Iterable[Claim]) -> None:
    """Counts what a round's claims met."""
    for claim in claims:
        _BY_CLAIM[claim].value += 1
