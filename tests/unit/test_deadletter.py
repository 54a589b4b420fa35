"""What a message of the dead-letter queue files."""

from collections.abc import Mapping

from board.job_pb2 import Job, Jobs
from mesh.rabbitmq import Delivery
from worker.deadletter import letters


def _delivery(body: bytes, headers: Mapping[str, object] | None = None) -> Delivery:
    return Delivery(body, False, 0, None, "", headers or {})


def test_each_job_is_filed_under_its_own_id_with_our_reason() -> None:
    jobs = [Job(update_id=bytes([n]) * 16, user_id="anna", attempt=n) for n in (1, 2)]
    filed = letters(_delivery(Jobs(jobs=jobs).SerializeToString(), {"reason": "UNKNOWN_KIND"}))
    assert [(key.bytes, reason, attempts) for key, _, reason, attempts in filed] == [
        (b"\x01" * 16, "UNKNOWN_KIND", 1),
        (b"\x02" * 16, "UNKNOWN_KIND", 2),
    ]
    assert Job.FromString(filed[0][1]) == jobs[0]


def test_what_the_broker_moved_is_filed_with_its_reason() -> None:
    body = Jobs(jobs=[Job(update_id=b"\x01" * 16)]).SerializeToString()
    assert letters(_delivery(body, {"x-first-death-reason": "delivery_limit"}))[0][2] == "DELIVERY_LIMIT"


def test_bytes_that_are_no_job_are_kept_as_they_came_under_one_id() -> None:
    first, again, other = (letters(_delivery(body))[0] for body in (b"\xff", b"\xff", b"\xfe"))
    assert first[1:] == (b"\xff", "UNKNOWN", 0)
    assert first[0] == again[0] != other[0]


def test_a_job_without_a_proper_id_is_filed_all_the_same() -> None:
    body = Jobs(jobs=[Job(update_id=b"short", attempt=2**32 - 1), Job()]).SerializeToString()
    filed = letters(_delivery(body))
    assert len({key for key, *_ in filed}) == 2
    assert filed[0][3] == 2**31 - 1


def test_a_job_twice_in_a_message_is_filed_once() -> None:
    body = Jobs(jobs=[Job(update_id=b"\x01" * 16)] * 2).SerializeToString()
    assert len(letters(_delivery(body))) == 1
