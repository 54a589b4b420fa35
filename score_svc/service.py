"""ScoreService: requests in, rules, responses out. Knows no transport."""

import os
import time
from datetime import UTC, datetime

from board.ledger import PARKED
from mesh.call import Call
from mesh.reasons import Reason
from mesh.refusal import Refused, invalid
from mesh.rpc import Access
from score_svc import answer, batch, fields, figures, lookup, nonce, signature
from score_svc.accept import Acceptor
from score_svc.answer import APPLIED
from score_svc.check import Checks
from score_svc.ledger import LedgerReader
from score_svc.update import Updates, session_revoked
from scoreboard.v1 import score_pb2

NONCES_MAX = 50
DEADLINE_MARGIN_S = 0.1  # so that PENDING still reaches the caller

UPDATE_SCOPE = "update:score"
ACCESS = {
    "IssueNonce": Access(token=True, scope=UPDATE_SCOPE),
    "UpdateScore": Access(token=True, scope=UPDATE_SCOPE),
    "UpdateScores": Access(token=True, scope=UPDATE_SCOPE, roles=(lookup.GAME_SERVER,)),
    "GetUpdate": Access(token=True, scope=UPDATE_SCOPE),
}


class ScoreServicer:
    """Answers the RPCs of scoreboard.v1.ScoreService."""

    def __init__(
        self, checks: Checks, updates: Updates, acceptor: Acceptor, ledger: LedgerReader, budget_s: float
    ) -> None:
        self._checks = checks
        self._updates = updates
        self._acceptor = acceptor
        self._ledger = ledger
        self._budget_s = budget_s

    async def issue_nonce(self, request: score_pb2.IssueNonceRequest, call: Call) -> score_pb2.IssueNonceResponse:
        """Issues nonces for one action of the caller."""
        fields.check_id("action_id", request.action_id)
        count = request.count if request.HasField("count") else 1
        if not 1 <= count <= NONCES_MAX:
            raise invalid("count", f"must be 1 to {NONCES_MAX}")
        await self._refuse_denied(call)
        await self._checks.player_action(request.action_id)
        now_ms = time.time_ns() // 1_000_000
        texts = [
            nonce.issue(self._checks.keys, call.caller.subject, request.action_id, now_ms, os.urandom(10))
            for _ in range(count)
        ]
        expires_at = datetime.fromtimestamp((now_ms + nonce.LIFE_MS) / 1000, UTC)
        return score_pb2.IssueNonceResponse(
            nonce=texts[0],
            expires_at=expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            nonces=texts if request.HasField("count") else None,
        )

    async def update_score(self, request: score_pb2.UpdateScoreRequest, call: Call) -> score_pb2.UpdateScoreResponse:
        """Counts one action of the caller, or refuses it."""
        try:
            response = await self._update(request, call)
        except Refused as e:
            figures.refused(e.reason)
            raise
        figures.answered(response)
        return response

    async def _update(self, request: score_pb2.UpdateScoreRequest, call: Call) -> score_pb2.UpdateScoreResponse:
        deadline = self._deadline(call)
        signed = call.metadata.get(signature.HEADER)
        update, action = await self._checks.player_update(request, call.caller, signed, time.time_ns() // 1_000_000)
        result = await self._updates.run(update, deadline)
        if result is None or result.outcome == PARKED:
            call.answer["x-http-code"] = "202"
        elif result.outcome != APPLIED:
            raise answer.refusal(result, request.user_id, action, datetime.now(UTC))
        return answer.outcome(update.update_id, result)

    async def update_scores(self, request: score_pb2.UpdateScoresRequest, call: Call) -> score_pb2.UpdateScoresResponse:
        """Counts a trusted client's batch."""
        deadline = self._deadline(call)
        batch.check_size(len(request.updates))
        client = await self._checks.catalogue.client(call.caller.subject)
        if client is None:
            raise Refused(Reason.TOKEN_INVALID, "This client was switched off or removed.")
        results = await batch.run(request.updates, client, self._checks, self._updates, deadline)
        figures.batch_answered(results)
        return score_pb2.UpdateScoresResponse(results=results)

    async def get_update(self, request: score_pb2.GetUpdateRequest, call: Call) -> score_pb2.UpdateScoreResponse:
        """Tells the outcome of an update of the caller's."""
        await self._refuse_denied(call)
        return await lookup.find(request.update_id, call.caller, self._ledger, self._acceptor)

    async def _refuse_denied(self, call: Call) -> None:
        if await self._acceptor.is_denied(call.caller.session_id):
            raise session_revoked()

    def _deadline(self, call: Call) -> float:
        by_budget = time.monotonic() + self._budget_s
        return by_budget if call.deadline is None else min(by_budget, call.deadline - DEADLINE_MARGIN_S)
