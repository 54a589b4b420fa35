"""What the client sends next: nonces, repeats, deadlines, refreshes and PENDING, over all that may come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, count, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score_svc.nonce import parse
from scoreboard.client import ScoreboardError, Status
from scoreboard.client.steps import Answer, Call
from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2
from tests.clients import ERRORS, Stage, a_session, an_error

REPEATED = {"BROKER_AWAY", "LEADERBOARD_UNAVAILABLE", "SERVICE_AWAY", "DEADLINE_EXCEEDED", "QUEUE_FULL"} | {
    f"-{code}" for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED")
}
UNKNOWN = REPEATED - {"QUEUE_FULL"} | {"INTERNAL"}
OUTCOMES = {"COOLDOWN", "CAP_REACHED", "BANNED"}
CLOCK_REFUSED = {"NONCE_MALFORMED", "NONCE_EXPIRED"}
APPLIED = score_pb2.UpdateScoreResponse(
    success=True, status=score_pb2.APPLIED, new_score=50, points=50, username="Ada", update_id="id"
)
PENDING = score_pb2.UpdateScoreResponse(success=True, status=score_pb2.PENDING, update_id="id")
ISSUED = score_pb2.IssueNonceResponse(nonce="s.1", nonces=["s.1"])


def answers(**by_request: Iterator[Answer] | Answer) -> Callable[[Call], Answer]:
    """Answers by the request's name without its ending; an iterator's answers in turn."""

    def answer(call: Call) -> Answer:
        found = by_request[type(call.request).__name__.removesuffix("Request")]
        return next(found) if isinstance(found, Iterator) else found

    return answer


def in_turn(*names: str, last: Answer = APPLIED) -> Iterator[Answer]:
    """Errors by name, and then always the last answer."""
    return chain(map(an_error, names), repeat(last))


def refreshed() -> Iterator[Answer]:
    return (a_session(number) for number in count(1))


@pytest.mark.parametrize("name", ERRORS)
def test_a_score_is_sent_again_with_its_nonce_where_that_helps(name: str) -> None:
    stage = Stage(answers(UpdateScore=in_turn(name), IssueNonce=ISSUED, Refresh=refreshed()))
    result = stage.run(stage.plans(session=a_session()).score("win-round"))
    nonces = [request.nonce for request in stage.requests(score_pb2.UpdateScoreRequest)]
    if name in REPEATED | {"TOKEN_EXPIRED"}:
        assert (result.status, result.new_score) == (Status.APPLIED, 50)
        assert len(nonces) == 2
        assert len(set(nonces)) == 1
    elif name in CLOCK_REFUSED:
        assert result.status is Status.APPLIED
        assert nonces[1:] == ["s.1"]
    else:
        assert (result.reason or f"-{result.code.name}", len(nonces)) == (name, 1)
        assert (result.is_unknown, bool(result.nonce)) == (name in UNKNOWN, name in UNKNOWN)


@pytest.mark.parametrize("name", ERRORS)
def test_a_sign_up_is_sent_again_only_when_it_made_nothing(name: str) -> None:
    stage = Stage(answers(Register=in_turn(name, last=a_session())))
    result = stage.run(stage.plans().register("ada", "correct horse"))
    assert len(stage.sent) == (2 if name == "QUEUE_FULL" else 1)
    if name != "QUEUE_FULL":
        assert result.is_unknown == (name in UNKNOWN)


@pytest.mark.parametrize("name", ERRORS)
def test_a_read_is_sent_again_where_that_helps_and_leaves_nothing_unknown(name: str) -> None:
    board = leaderboard_pb2.GetLeaderboardResponse(board="all")
    stage = Stage(answers(GetLeaderboard=in_turn(name, last=board)))
    result = stage.run(stage.plans().top())
    assert len(stage.sent) == (2 if name in REPEATED else 1)
    assert name in REPEATED or not result.is_unknown


#: What is to be told apart comes often: no answer, and a nonce that is refused.
names = st.sampled_from(sorted(UNKNOWN)) | st.sampled_from(sorted(CLOCK_REFUSED)) | st.sampled_from(ERRORS)
chances = st.floats(0, 1, exclude_max=True)
takes = st.floats(0, 10)


@given(st.lists(names, max_size=8), st.lists(names, max_size=3), st.floats(0.01, 40), st.data())
def test_no_second_nonce_while_the_outcome_is_unknown_and_nothing_after_the_deadline(
    met: list[str], met_by_refresh: list[str], deadline_s: float, data: st.DataObject
) -> None:
    stage = Stage(
        answers(
            UpdateScore=in_turn(*met, last=an_error("BROKER_AWAY") if data.draw(st.booleans()) else APPLIED),
            Refresh=chain(map(an_error, met_by_refresh), refreshed()),
            IssueNonce=ISSUED,
        ),
        call_takes_s=lambda: data.draw(takes),
        chance=lambda: data.draw(chances),
    )
    plans = stage.plans(session=a_session())
    result = stage.run(plans.score("win-round", deadline_s=deadline_s))

    assert stage.now_s <= deadline_s + 1e-6
    assert all(one.at_s < one.at_s + one.call.timeout_s <= deadline_s + 1e-6 for one in stage.sent)
    updates = [one for one in stage.sent if isinstance(one.call.request, score_pb2.UpdateScoreRequest)]
    errors = [one.answer for one in updates if isinstance(one.answer, ScoreboardError)]
    was_unknown = False
    for before, after in pairwise(updates):
        assert isinstance(before.answer, ScoreboardError)
        was_unknown |= code_is_unknown(before.answer)
        if nonce_of(before.call) != nonce_of(after.call):
            assert before.answer.reason in CLOCK_REFUSED
            assert not was_unknown
    if isinstance(result, ScoreboardError):
        may_count = any(map(code_is_unknown, errors)) and not (errors[-1:] == [result] and result.reason in OUTCOMES)
        assert result.is_unknown == may_count
        assert result.nonce == (nonce_of(updates[-1].call) if may_count else "")


def code_is_unknown(error: ScoreboardError) -> bool:
    return error.code.name in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED"}


def nonce_of(call: Call) -> str:
    assert isinstance(call.request, score_pb2.UpdateScoreRequest)
    return call.request.nonce


@given(st.integers(2, 5), st.lists(st.sampled_from([*REPEATED]), max_size=2), st.booleans(), st.data())
def test_calls_side_by_side_refresh_once(
    calls: int, met_by_refresh: list[str], is_known_to_be_over: bool, data: st.DataObject
) -> None:
    def answer(call: Call) -> Answer:
        if isinstance(call.request, auth_pb2.RefreshRequest):
            return an_error(met_by_refresh.pop()) if met_by_refresh else a_session(1)
        bearer = dict(call.metadata)["authorization"]
        return APPLIED if bearer == "Bearer access-1" else an_error("TOKEN_EXPIRED")

    stage = Stage(answer, pick=lambda ready: data.draw(st.integers(0, ready - 1)))
    plans = stage.plans(session=a_session())
    stage.now_s = 599.0 if is_known_to_be_over else 0.0
    tries = len(met_by_refresh) + 1
    results = stage.run(*(plans.score("win-round") for _ in range(calls)))
    assert [result.status for result in results] == [Status.APPLIED] * calls
    refreshes = stage.requests(auth_pb2.RefreshRequest)
    assert [request.refresh_token for request in refreshes] == ["refresh-0"] * tries
    assert max(sum(isinstance(one, auth_pb2.RefreshRequest) for one in flight) for flight in stage.at_once) == 1
    assert stage.kept == [a_session(), a_session(1)]


def test_two_refreshes_at_once_are_one() -> None:
    turns = count()
    stage = Stage(answers(Refresh=refreshed()), pick=lambda ready: next(turns) % ready)
    plans = stage.plans(session=a_session())
    assert stage.run(plans.refresh(), plans.refresh()) == [a_session(1), a_session(1)]
    assert len(stage.requests(auth_pb2.RefreshRequest)) == 1


@pytest.mark.parametrize("then", ["login", "logout"])
def test_a_refresh_that_ends_late_brings_no_session_back(then: str) -> None:
    bo = a_session(9)
    bo.user_id = "u_bo"
    stage = Stage(answers(Refresh=refreshed(), Login=bo, Logout=auth_pb2.LogoutResponse(success=True)))
    plans = stage.plans(session=a_session())
    turns = iter([0, 0])  # the refresh waits for its turn and is sent; then comes the other, and ends before it
    stage.pick = lambda ready: next(turns, ready - 1)
    other = plans.login("bo", "correct horse") if then == "login" else plans.logout()
    stage.run(plans.refresh(), other)
    assert len(stage.requests(auth_pb2.RefreshRequest)) == 1
    assert stage.kept == [a_session(), bo if then == "login" else None]
    if then == "login":
        assert plans.session == bo


@pytest.mark.parametrize("reason", ["TOKEN_INVALID", "TOKEN_EXPIRED", "SESSION_REVOKED"])
def test_a_session_that_the_server_does_not_know_is_logged_out(reason: str) -> None:
    stage = Stage(answers(Logout=an_error(reason)))
    stage.run(stage.plans(session=a_session()).logout())
    assert stage.kept == [a_session(), None]


@pytest.mark.parametrize("name", [name for name in ERRORS if name not in REPEATED | CLOCK_REFUSED])
def test_a_refresh_that_fails_fails_the_call_that_needed_it(name: str) -> None:
    stage = Stage(answers(Refresh=in_turn(name)))
    plans = stage.plans(session=a_session())
    stage.now_s = 599.0
    error = stage.run(plans.score("win-round"))
    assert (error.reason or f"-{error.code.name}") == name
    assert (error.is_unknown, error.nonce) == (False, "")  # the score was never sent


def test_a_token_that_is_refused_twice_is_not_refreshed_for_ever() -> None:
    stage = Stage(answers(UpdateScore=an_error("TOKEN_EXPIRED"), Refresh=refreshed()))
    error = stage.run(stage.plans(session=a_session()).score("win-round"))
    assert error.reason == "TOKEN_EXPIRED"
    assert len(stage.requests(auth_pb2.RefreshRequest)) == 1


def test_a_refresh_is_signed_and_a_score_too() -> None:
    stage = Stage(answers(UpdateScore=APPLIED, Refresh=refreshed()))
    plans = stage.plans(session=a_session())
    stage.run(plans.refresh())
    stage.run(plans.score("win-round"))
    assert all(len(dict(one.call.metadata)["x-signature"]) == 43 for one in stage.sent)


@pytest.mark.parametrize("name", sorted(CLOCK_REFUSED))
def test_a_nonce_that_may_have_counted_is_never_replaced(name: str) -> None:
    stage = Stage(answers(UpdateScore=in_turn("BROKER_AWAY", name), IssueNonce=ISSUED))
    error = stage.run(stage.plans(session=a_session()).score("win-round"))
    nonces = {request.nonce for request in stage.requests(score_pb2.UpdateScoreRequest)}
    assert (error.reason, error.is_unknown, {error.nonce}) == (name, True, nonces)


@pytest.mark.parametrize("name", sorted(CLOCK_REFUSED))
def test_a_given_nonce_is_never_replaced(name: str) -> None:
    stage = Stage(answers(UpdateScore=in_turn(name)))
    plans = stage.plans(session=a_session())
    nonce = plans.nonce()
    assert stage.run(plans.score("win-round", nonce=nonce)).reason == name


def test_where_the_clock_is_refused_nonces_are_asked_for_until_the_server_tells_its_time_again() -> None:
    issued = (score_pb2.IssueNonceResponse(nonces=[f"s.{number}"]) for number in count(1))
    stage = Stage(answers(UpdateScore=in_turn("NONCE_MALFORMED"), IssueNonce=issued, Refresh=refreshed()))
    plans = stage.plans(session=a_session())
    for _ in range(2):
        assert stage.run(plans.score("win-round")).status is Status.APPLIED
    stage.run(plans.refresh())
    assert stage.run(plans.score("win-round")).status is Status.APPLIED
    nonces = [request.nonce for request in stage.requests(score_pb2.UpdateScoreRequest)]
    assert [nonce[:2] for nonce in nonces] == ["c.", "s.", "s.", "c."]
    assert nonces[1:3] == ["s.1", "s.2"]


def test_an_issued_nonce_that_is_refused_is_the_end() -> None:
    stage = Stage(answers(UpdateScore=an_error("NONCE_MALFORMED"), IssueNonce=ISSUED))
    error = stage.run(stage.plans(session=a_session()).score("win-round"))
    assert (error.reason, len(stage.requests(score_pb2.UpdateScoreRequest))) == ("NONCE_MALFORMED", 2)


def test_a_nonce_is_of_the_server_s_clock() -> None:
    stage = Stage(answers())
    plans = stage.plans(session=a_session())
    stage.now_s = 7.0
    assert parse(plans.nonce()).time_ms == (1_800_000_000 + 7 + 5) * 1000


def pending_then(*later: Answer) -> Stage:
    return Stage(answers(UpdateScore=PENDING, GetUpdate=chain(later[:-1], repeat(later[-1]))))


def test_what_is_pending_is_asked_for_until_it_is_applied() -> None:
    stage = pending_then(PENDING, an_error("NOT_FOUND"), PENDING, APPLIED)
    result = stage.run(stage.plans(session=a_session()).score("win-round"))
    assert (result.status, result.new_score, result.points) == (Status.APPLIED, 50, 50)
    assert {request.update_id for request in stage.requests(score_pb2.GetUpdateRequest)} == {"id"}


@pytest.mark.parametrize("later", ["PENDING", "NOT_FOUND", "SERVICE_AWAY"])
def test_what_stays_pending_is_told_as_that_at_the_deadline(later: str) -> None:
    stage = pending_then(PENDING if later == "PENDING" else an_error(later))
    result = stage.run(stage.plans(10.0, session=a_session()).score("win-round"))
    assert (result.status, result.update_id) == (Status.PENDING, "id")
    assert (result.username, result.new_score, result.points) == ("", None, None)
    assert 5.0 < stage.now_s <= 10.0


def test_what_may_not_be_asked_for_is_told_as_pending_at_once() -> None:
    stage = pending_then(an_error("SESSION_REVOKED"))
    result = stage.run(stage.plans(session=a_session()).score("win-round"))
    assert (result.status, len(stage.requests(score_pb2.GetUpdateRequest))) == (Status.PENDING, 1)


def test_a_refusal_that_comes_late_is_the_error_that_it_would_have_been() -> None:
    refused = score_pb2.UpdateScoreResponse(status=score_pb2.REFUSED, reason="COOLDOWN", update_id="id")
    stage = pending_then(refused)
    error = stage.run(stage.plans(session=a_session()).score("win-round"))
    assert (error.reason, error.code.name, error.is_unknown) == ("COOLDOWN", "RESOURCE_EXHAUSTED", False)
    assert (error.message, error.metadata) == ("Action is cooling down.", {"update_id": "id"})


def test_what_is_parked_is_an_error_and_a_look_up_tells_both() -> None:
    parked = score_pb2.UpdateScoreResponse(status=score_pb2.PARKED, reason="FAILED_XX002", update_id="id")
    stage = pending_then(parked)
    plans = stage.plans(session=a_session())
    assert stage.run(plans.score("win-round")).reason == "INTERNAL"
    found = stage.run(plans.get_update("id"))
    assert (found.status, found.reason) == (Status.PARKED, "FAILED_XX002")


@given(chances, st.sampled_from([name for name in REPEATED if not name.startswith("-")]), st.floats(0, 30))
def test_the_server_s_delay_is_kept_and_the_deadline_is_stronger(chance: float, name: str, asked_s: float) -> None:
    def answer(call: Call) -> Answer:
        error = an_error(name)
        error.retry_after_s = asked_s
        return error

    stage = Stage(answer, chance=lambda: chance)
    stage.run(stage.plans(session=a_session()).score("win-round"))
    waits = [after.at_s - before.at_s for before, after in pairwise(stage.sent)]
    assert all(wait >= asked_s for wait in waits)
    assert stage.now_s <= 15.0


@pytest.mark.parametrize("call", ["score", "rank", "around", "refresh", "logout", "get_update", "issue_nonces"])
def test_before_a_login_every_call_of_a_player_says_so(call: str) -> None:
    stage = Stage(answers())
    arguments = ["x"] if call in ("score", "get_update", "issue_nonces") else []
    error = stage.run(getattr(stage.plans(), call)(*arguments))
    assert (error.reason, error.message.split(":")[0]) == ("TOKEN_MISSING", "Not logged in")


@pytest.mark.parametrize("call", ["logout", "delete_account"])
def test_the_end_of_a_session_is_told_to_whoever_keeps_it(call: str) -> None:
    done = answers(Logout=auth_pb2.LogoutResponse(success=True), DeleteAccount=auth_pb2.DeleteAccountResponse())
    stage = Stage(done)
    plans = stage.plans(session=a_session())
    stage.run(getattr(plans, call)())
    assert stage.kept == [a_session(), None]
    with pytest.raises(ScoreboardError, match="TOKEN_MISSING"):
        _ = plans.session
