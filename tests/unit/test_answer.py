"""score_svc/answer.py: how a result is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.catalogue import Action
from board.job_pb2 import Result
from mesh.reasons import Reason
from score_svc import answer
from scoreboard.v1 import score_pb2 as pb

KEY = UUID("01a19467-e800-7000-8000-000000000001")
NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
BONUS = Action("daily-bonus", 100, cap_count=1, cap_window=timedelta(days=1), cooldown=timedelta(seconds=30))


def result(**fields: object) -> Result:
    made = Result(update_id=KEY.bytes, username="Ada", action_id="daily-bonus")
    made.MergeFrom(Result(**fields))  # type: ignore[arg-type]
    return made


def test_an_applied_result_brings_score_and_points() -> None:
    told = answer.outcome(KEY, result(score_after=150, points=50))
    assert told == pb.UpdateScoreResponse(
        success=True, new_score=150, username="Ada", update_id=str(KEY), status=pb.APPLIED, points=50
    )


def test_a_score_of_zero_is_told_and_not_left_out() -> None:
    told = answer.outcome(KEY, result())
    assert told.HasField("new_score")
    assert told.HasField("points")


@given(st.integers(-(2**53), 2**53))
def test_scores_are_told_exactly(score: int) -> None:
    assert int(answer.outcome(KEY, result(score_after=score)).new_score) == score


def test_without_a_result_no_score_is_told() -> None:
    told = answer.outcome(KEY, None)
    assert (told.success, told.status, told.HasField("new_score")) == (True, pb.PENDING, False)


@pytest.mark.parametrize(("outcome", "status"), [(1, pb.REFUSED), (2, pb.PARKED)])
def test_what_does_not_count_is_told_with_its_reason(outcome: int, status: int) -> None:
    told = answer.outcome(KEY, result(outcome=outcome, reason="COOLDOWN"))
    assert (told.success, told.status, told.reason) == (False, status, "COOLDOWN")
    assert not told.HasField("new_score")


@pytest.mark.parametrize(("reason", "wait_s"), [("CAP_REACHED", 6 * 3600), ("COOLDOWN", 30), ("BANNED", None)])
def test_a_refusal_says_when_a_new_update_would_count(reason: str, wait_s: float | None) -> None:
    refused = answer.refusal(result(outcome=1, reason=reason), "u_ada", BONUS, NOW)
    assert (refused.reason, refused.retry_after_s) == (reason, wait_s)
    assert refused.metadata["action_id"] == "daily-bonus"
    assert refused.metadata["update_id"] == str(KEY)


def test_a_reason_of_a_newer_worker_is_an_internal_fault_not_a_crash() -> None:
    assert answer.refusal(result(outcome=1, reason="NEWER"), "u_ada", BONUS, NOW).reason is Reason.INTERNAL
