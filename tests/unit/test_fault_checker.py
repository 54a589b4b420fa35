"""The fault tests' checker finds each kind of wrong history, and nothing in a right one."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest

from tests.fault.checker import Found, Sent, Told, Verdict, classify

ONE = UUID(int=1)


def judge(told: list[Told] | None, *places: str, score: int | None = None) -> Verdict:
    """The verdict on one update of 50 points: what its attempts were told (None: never sent), and where it is found."""
    sent = {} if told is None else {ONE: Sent(ONE, "ann", 50, told)}
    applied, refused, dead = (Counter({ONE: places.count(place)}) for place in ("applied", "refused", "dead"))
    right = 50 if "applied" in places else 0
    return classify(sent, Found(+applied, +refused, +dead, {"ann": right if score is None else score}))


def only(verdict: Verdict, name: str) -> bool:
    """Whether the one update is in this class and in no other."""
    return [key for key, ids in vars(verdict).items() if ids == [ONE]] == [name]


@pytest.mark.parametrize(
    ("told", "places", "name"),
    [
        ([Told.APPLIED], ["applied"], "counted"),
        ([Told.PENDING, Told.APPLIED], ["applied"], "counted"),
        ([Told.UNKNOWN, Told.APPLIED], ["applied"], "recovered"),
        ([Told.REFUSED], ["refused"], "refused"),
        ([Told.UNKNOWN, Told.REFUSED], ["refused"], "refused"),
        ([Told.PARKED], ["dead"], "dead"),
        ([Told.FAILED], [], "absent"),
        ([Told.UNKNOWN, Told.FAILED], [], "absent"),
    ],
)
def test_a_right_history_is_no_offence(told: list[Told], places: list[str], name: str) -> None:
    verdict = judge(told, *places)
    assert only(verdict, name)
    assert verdict.offences == {}


@pytest.mark.parametrize("told", [Told.APPLIED, Told.PENDING, Told.REFUSED, Told.PARKED])
def test_what_was_promised_and_is_nowhere_is_lost(told: Told) -> None:
    verdict = judge([Told.UNKNOWN, told])
    assert only(verdict, "lost")
    assert verdict.offences == {"lost": [ONE]}


@pytest.mark.parametrize("promise", [Told.APPLIED, Told.PENDING, Told.REFUSED, Told.PARKED])
@pytest.mark.parametrize("last", [Told.UNKNOWN, Told.FAILED])
def test_what_was_promised_is_lost_whatever_was_told_afterwards(promise: Told, last: Told) -> None:
    assert only(judge([Told.UNKNOWN, promise, last]), "lost")


@pytest.mark.parametrize(
    "places", [("applied", "applied"), ("applied", "refused"), ("applied", "dead"), ("refused", "dead")]
)
def test_what_is_found_twice_is_doubled(places: tuple[str, str]) -> None:
    assert only(judge([Told.APPLIED], *places), "doubled")


@pytest.mark.parametrize(
    ("told", "place"),
    [
        (Told.FAILED, "applied"),
        (Told.FAILED, "dead"),
        (Told.REFUSED, "applied"),
        (Told.APPLIED, "refused"),
        (Told.APPLIED, "dead"),
        (Told.PARKED, "applied"),
    ],
)
def test_what_is_found_where_nobody_said_is_unexpected(told: Told, place: str) -> None:
    assert only(judge([told], place), "unexpected")


@pytest.mark.parametrize("place", ["applied", "refused", "dead"])
def test_what_nobody_sent_is_unexpected(place: str) -> None:
    assert only(judge(None, place), "unexpected")


@pytest.mark.parametrize(
    ("told", "places"), [([], []), ([Told.UNKNOWN], []), ([Told.UNKNOWN], ["applied"]), ([Told.PENDING], ["applied"])]
)
def test_what_has_no_last_word_is_unresolved(told: list[Told], places: list[str]) -> None:
    assert only(judge(told, *places), "unresolved")


@pytest.mark.parametrize(("place", "score"), [("applied", 100), ("applied", 0), ("refused", 50)])
def test_a_score_that_its_updates_do_not_make_is_wrong(place: str, score: int) -> None:
    told = Told.APPLIED if place == "applied" else Told.REFUSED
    verdict = judge([told], place, score=score)
    assert set(verdict.offences) == {"wrong_scores"}
    assert str(score) in verdict.wrong_scores[0]
    assert verdict.doubled_count == 1


def test_a_player_who_is_not_found_has_no_score() -> None:
    sent = {ONE: Sent(ONE, "ann", 50, [Told.APPLIED])}
    assert set(classify(sent, Found(Counter([ONE]), Counter(), Counter(), {})).offences) == {"wrong_scores"}
