"""Envelopes in, answers out."""

from board.job_pb2 import Job, Result, Results
from worker.batch import Asked, envelope, open_envelope, replies


def _job(number: int) -> Job:
    return Job(update_id=bytes([number]) * 16, kind="update", user_id=f"user-{number}", action_id="win-round")


def test_an_envelope_opens_into_its_jobs_in_order() -> None:
    jobs = [_job(3), _job(1), _job(2)]
    assert list(open_envelope(envelope(jobs)) or ()) == jobs


def test_what_is_no_envelope_opens_into_nothing() -> None:
    assert open_envelope(b"\xff\xff\xff") is None
    assert open_envelope(b"") is None


def test_each_asker_gets_one_message_with_the_results_of_his_jobs() -> None:
    asked = [Asked(_job(1), "a"), Asked(_job(2), "b"), Asked(_job(3), "a"), Asked(_job(4), None)]
    results = {each.job.update_id: Result(update_id=each.job.update_id) for each in asked}
    bodies = replies(asked, results)
    assert {asker: [r.update_id[0] for r in Results.FromString(body).results] for asker, body in bodies.items()} == {
        "a": [1, 3],
        "b": [2],
    }


def test_both_askers_of_one_job_are_answered() -> None:
    result = {_job(1).update_id: Result(update_id=_job(1).update_id, score_after=50)}
    assert set(replies([Asked(_job(1), "a"), Asked(_job(1), "b")], result)) == {"a", "b"}


def test_a_job_that_waits_for_another_try_is_not_answered() -> None:
    assert replies([Asked(_job(1), "a")], {}) == {}
