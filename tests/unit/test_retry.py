"""score_svc/retry.py: CONTRACT.md, "What a retry meets", row by row, and that the rows always come to an end."""

from __future__ import annotations

from itertools import product

import pytest

from score_svc.retry import Age, Claim, Ledger, Step, looks_first, next_step

YOUNG = Age(is_expired=False, age_ms=9_000)
OLD = Age(is_expired=False, age_ms=10_001)
LOST = Age(is_expired=False, age_ms=0, is_redis_just_lost=True)
EXPIRED = Age(is_expired=True, age_ms=300_001)
AGES = (YOUNG, OLD, LOST, EXPIRED)
ENDS = {
    Step.ANSWER,
    Step.PUBLISH,
    Step.REFUSE_AWAY,
    Step.REFUSE_DENIED,
    Step.REFUSE_EXPIRED,
    Step.REFUSE_LIMITED,
    Step.REFUSE_REUSED,
}


@pytest.mark.parametrize("age", AGES)
def test_a_claim_with_its_result_is_the_answer(age: Age) -> None:
    assert next_step(Claim.SEEN, True, age) is Step.ANSWER


@pytest.mark.parametrize("age", AGES)
def test_a_claim_of_another_payload_is_reused(age: Age) -> None:
    assert next_step(Claim.REUSED, False, age) is Step.REFUSE_REUSED


@pytest.mark.parametrize("claim", [Claim.SEEN, Claim.ABSENT, Claim.AWAY])
@pytest.mark.parametrize("age", AGES)
def test_a_row_of_the_ledger_decides(claim: Claim, age: Age) -> None:
    assert next_step(claim, False, age, Ledger.SAME) is Step.ANSWER
    assert next_step(claim, False, age, Ledger.OTHER) is Step.REFUSE_REUSED


@pytest.mark.parametrize("age", AGES)
def test_a_claim_without_a_result_asks_the_ledger_then_publishes_again(age: Age) -> None:
    assert next_step(Claim.SEEN, False, age) is Step.ASK_LEDGER
    assert next_step(Claim.SEEN, False, age, Ledger.ABSENT) is Step.PUBLISH
    assert next_step(Claim.SEEN, False, age, Ledger.AWAY) is Step.PUBLISH


def test_only_a_young_nonce_is_claimed_before_the_ledger_is_asked() -> None:
    assert [looks_first(age) for age in AGES] == [False, True, True, True]
    assert next_step(Claim.NEW, False, YOUNG) is Step.PUBLISH


@pytest.mark.parametrize("age", [OLD, LOST])
@pytest.mark.parametrize("ledger", [Ledger.ABSENT, Ledger.AWAY])
def test_without_a_claim_and_a_row_it_is_claimed_and_published(age: Age, ledger: Ledger) -> None:
    assert next_step(Claim.ABSENT, False, age) is Step.ASK_LEDGER
    assert next_step(Claim.ABSENT, False, age, ledger) is Step.CLAIM
    assert next_step(Claim.NEW, False, age, ledger) is Step.PUBLISH


def test_an_expired_nonce_is_refused_only_by_a_ledger_that_was_asked() -> None:
    for claim in (Claim.ABSENT, Claim.AWAY):
        assert next_step(claim, False, EXPIRED) is Step.ASK_LEDGER
        assert next_step(claim, False, EXPIRED, Ledger.ABSENT) is Step.REFUSE_EXPIRED
        assert next_step(claim, False, EXPIRED, Ledger.AWAY) is Step.REFUSE_AWAY


@pytest.mark.parametrize("ledger", [Ledger.ABSENT, Ledger.AWAY])
def test_without_redis_an_update_still_counts(ledger: Ledger) -> None:
    assert next_step(Claim.AWAY, False, YOUNG) is Step.ASK_LEDGER
    assert next_step(Claim.AWAY, False, YOUNG, ledger) is Step.PUBLISH


@pytest.mark.parametrize("age", AGES)
def test_a_full_rate_and_an_ended_session_are_refused(age: Age) -> None:
    assert next_step(Claim.LIMITED, False, age) is Step.REFUSE_LIMITED
    assert next_step(Claim.DENIED, False, age) is Step.REFUSE_DENIED


def test_whatever_is_found_an_end_comes_within_four_steps() -> None:
    asked = (Ledger.ABSENT, Ledger.SAME, Ledger.OTHER, Ledger.AWAY)
    claimed = (Claim.NEW, Claim.SEEN, Claim.REUSED, Claim.LIMITED, Claim.DENIED, Claim.AWAY)
    for claim, age, ledger, again in product(Claim, AGES, asked, claimed):
        known = Ledger.UNASKED
        for _ in range(4):
            step = next_step(claim, False, age, known)
            if step is Step.ASK_LEDGER:
                known = ledger
            elif step is Step.CLAIM:
                claim = again
            else:
                break
        assert step in ENDS


def test_nothing_expired_is_published_without_a_claim() -> None:
    for claim, ledger in product((Claim.ABSENT, Claim.AWAY), Ledger):
        assert next_step(claim, False, EXPIRED, ledger) is not Step.PUBLISH
