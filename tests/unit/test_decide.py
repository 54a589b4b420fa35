"""What becomes of each job of a batch."""

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board.catalogue import Action
from board.instant import from_us
from board.job_pb2 import Job
from board.ledger import PARKED, LockedUser, Outcome, RecordedUpdate
from board.order import SCORE_MAX
from worker import decide as rule
from worker.decide import Decided, Known, decide, sift

NOON_US = 1_795_608_000_000_000  # 2026-11-25T12:00:00Z
ACTIONS = {
    action.action_id: action
    for action in (
        Action("win-round", 50),
        Action("lose-round", -20),
        Action("daily-bonus", 100, cap_count=1, cap_window=timedelta(days=1)),
        Action("coin-of-100", 1, cap_count=100, cap_window=timedelta(days=1)),
        Action("spin", 5, cooldown=timedelta(minutes=1)),
        Action("match-result", 0, server_only=True, value_min=10, value_max=500),
        Action("gone", 9, enabled=False),
    )
}
ANNA = LockedUser(1, "anna", "Anna", 0, 1_000, 1)
BEN = LockedUser(2, "ben", "Ben", 0, 0, 1)
BANNED = LockedUser(3, "mallory", "Mallory", 1, 70, 1)
DELETED = LockedUser(4, "gone", "", 2, 0, 1)
PLAYERS = {player.user_id: player for player in (ANNA, BEN, BANNED, DELETED)}


def _id(number: int) -> bytes:
    return (0x01A1 << 112 | number).to_bytes(16, "big")


def _job(number: int, user: str = "anna", action: str = "win-round", *, at_s: float = 0, **fields: object) -> Job:
    at_us = NOON_US + round(at_s * 1_000_000)
    job = Job(update_id=_id(number), kind="update", user_id=user, action_id=action, accepted_at_us=at_us)
    job.MergeFrom(Job(**fields))  # type: ignore[arg-type]
    return job


def _decide(jobs: Sequence[Job], ledger: Mapping[UUID, RecordedUpdate] | None = None) -> Decided:
    return decide(jobs, Known(PLAYERS, ledger or {}, {}), ACTIONS)


def test_an_update_brings_the_points_of_the_catalogue() -> None:
    decided = _decide([_job(1), _job(2, at_s=1)])
    assert [(row.score_change, row.score_after) for row in decided.rows] == [(50, 1_050), (50, 1_100)]
    result = decided.results[_id(2)]
    assert (result.outcome, result.score_after, result.points, result.username) == (0, 1_100, 50, "Anna")


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (_job(1, "mallory"), "BANNED"),
        (_job(1, "gone"), "UNKNOWN_USER"),
        (_job(1, action="never-heard-of"), "UNKNOWN_ACTION"),
        (_job(1, action="gone"), "UNKNOWN_ACTION"),
        (_job(1, action="match-result", value=100), "SERVER_ONLY_ACTION"),
        (_job(1, action="match-result", reporter="arena", value=9), "INVALID_ARGUMENT"),
        (_job(1, action="match-result", reporter="arena", value=501), "INVALID_ARGUMENT"),
        (_job(1, action="match-result", reporter="arena"), "INVALID_ARGUMENT"),
    ],
)
def test_a_refusal_is_a_row_without_points(job: Job, reason: str) -> None:
    decided = _decide([job])
    (row,) = decided.rows
    assert (row.outcome, row.reason, row.score_change) == (Outcome.REFUSED, reason, 0)
    assert row.score_after == PLAYERS[job.user_id].score
    assert decided.results[job.update_id].reason == reason


def test_a_value_beside_an_action_with_points_brings_nothing() -> None:
    jobs = [_job(1, value=1_000_000), _job(2, reporter="arena", value=1_000_000, at_s=1)]
    assert [(row.score_change, row.value) for row in _decide(jobs).rows] == [(50, None), (50, None)]


def test_a_reported_value_is_the_points() -> None:
    (row,) = _decide([_job(1, action="match-result", reporter="arena", value=321)]).rows
    assert (row.score_change, row.value, row.score_after) == (321, 321, 1_321)


def test_a_player_that_is_not_there_is_refused_without_a_row() -> None:
    decided = _decide([_job(1, "nobody")])
    assert decided.rows == []
    assert decided.results[_id(1)].reason == "UNKNOWN_USER"
    assert decided.parked == []


def test_what_the_ledger_has_is_answered_from_it_and_never_decided_again() -> None:
    key = UUID(bytes=_id(1))
    at = from_us(NOON_US)
    row = RecordedUpdate(
        key, 1, "anna", "Anna", "lose-round", 0, Outcome.REFUSED, "COOLDOWN", 0, 40, None, at, at, None, 1, None
    )
    decided = _decide([_job(1)], {key: row})
    assert decided.rows == []
    result = decided.results[_id(1)]
    assert (result.outcome, result.reason, result.action_id, result.score_after) == (1, "COOLDOWN", "lose-round", 40)


def test_the_same_job_twice_in_a_batch_counts_once() -> None:
    decided = _decide([_job(1), _job(1)])
    assert [row.score_after for row in decided.rows] == [1_050]


@pytest.mark.promise(row=18)
def test_exactly_the_first_100_by_time_and_id_count_under_a_cap_of_100() -> None:
    jobs = [_job(n, "ben", "coin-of-100", at_s=n // 7) for n in range(500)]
    shuffled = random.Random(1).sample(jobs, 500)
    decided = _decide(shuffled)
    applied = [row.update_id.bytes for row in decided.rows if row.outcome is Outcome.APPLIED]
    assert applied == [_id(n) for n in range(100)]
    assert {row.reason for row in decided.rows if row.outcome is Outcome.REFUSED} == {"CAP_REACHED"}
    assert decided.usage[2, "coin-of-100"].used == 100


def test_a_cooldown_holds_inside_a_batch() -> None:
    decided = _decide([_job(3, action="spin", at_s=61), _job(1, action="spin"), _job(2, action="spin", at_s=59)])
    assert [row.reason for row in decided.rows] == [None, "COOLDOWN", None]


def test_a_score_past_what_a_double_holds_parks_that_job_alone() -> None:
    rich = LockedUser(9, "rich", "Rich", 0, SCORE_MAX - 60, 1)
    jobs = [_job(n, "rich", at_s=n) for n in range(2)] + [_job(3, "rich", "lose-round", at_s=3)]
    decided = decide(jobs, Known({"rich": rich}, {}, {}), ACTIONS)
    assert [row.score_after for row in decided.rows] == [SCORE_MAX - 10, SCORE_MAX - 30]
    assert [(job.update_id, reason) for job, reason in decided.parked] == [(_id(1), rule.SCORE_OUT_OF_RANGE)]
    assert decided.results[_id(1)].outcome == PARKED


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (_job(1, update_id=b"short"), rule.MALFORMED),
        (_job(1, "x" * 51), rule.MALFORMED),
        (_job(1, "a\0b"), rule.MALFORMED),
        (_job(1, action="a\0b"), rule.MALFORMED),
        (_job(1, reporter="a\0b"), rule.MALFORMED),
        (Job(update_id=_id(1), kind="update", user_id="anna", action_id="spin"), rule.MALFORMED),
        (_job(1, accepted_at_us=2**62), rule.MALFORMED),
        (_job(1, kind="conquer"), rule.UNKNOWN_KIND),
        (_job(1, update_id=b"\0" * 16), rule.TOO_OLD),
    ],
)
def test_what_can_never_be_decided_is_sifted_out(job: Job, reason: str) -> None:
    good, parked = sift([_job(7), job], oldest_id=_id(0))
    assert good == [_job(7)]
    assert parked == [(job, reason)]


jobs_of_two = st.lists(
    st.builds(
        _job,
        st.integers(0, 60),
        st.sampled_from(["anna", "ben", "mallory", "nobody"]),
        st.sampled_from([*ACTIONS, "never-heard-of"]),
        at_s=st.integers(0, 300),
        reporter=st.sampled_from(["", "arena"]),
        value=st.integers(0, 600),
    ),
    max_size=60,
    unique_by=lambda job: job.update_id,
)


@given(jobs_of_two)
def test_changes_add_up_to_the_points_of_the_applied_jobs(jobs: list[Job]) -> None:
    decided = _decide(jobs)
    for player in PLAYERS.values():
        mine = [row for row in decided.rows if row.user_ref == player.user_ref]
        assert (mine[-1].score_after if mine else player.score) == player.score + sum(row.score_change for row in mine)
        assert all(row.score_change == 0 for row in mine if row.outcome is Outcome.REFUSED)


@given(jobs_of_two, st.randoms())
def test_the_order_inside_a_batch_changes_nothing(jobs: list[Job], chance: random.Random) -> None:
    shuffled = list(jobs)
    chance.shuffle(shuffled)
    first, second = _decide(jobs), _decide(shuffled)
    assert (first.rows, first.usage, first.results) == (second.rows, second.usage, second.results)


@given(jobs_of_two)
def test_every_job_has_one_answer(jobs: list[Job]) -> None:
    assert set(_decide(jobs).results) == {job.update_id for job in jobs}
