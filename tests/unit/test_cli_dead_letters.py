"""What `scoreboard dead-letters` says of a reason, and how it shows a job."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from board.job_pb2 import Job
from scoreboard.cli.dead_letters import REASONS, decode, explain_reason

DOCS = Path(__file__).parent.parent.parent / "docs" / "jobs.md"
ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
UPDATE_ID = UUID("01a21c97-860b-7909-8557-fd3bacd76cc6")


def documented() -> dict[str, tuple[str, str]]:
    """Each reason of docs/jobs.md with what it means and when a replay helps."""
    rows = ROW.findall(DOCS.read_text())
    return {reason: (means, helps) for reasons, means, helps in rows for reason in re.findall(r"`([^`]+)`", reasons)}


def test_every_documented_reason_is_explained_as_it_is_documented() -> None:
    found = documented()
    assert len(found) >= len(REASONS)
    for reason, (means, helps) in found.items():
        said, when = explain_reason(reason.replace("<SQLSTATE>", "23514").replace("<error>", "KeyError"))
        assert (means.startswith(said), helps) == (True, when), reason


def test_every_reason_is_documented() -> None:
    assert {re.sub("<.*", "", reason) for reason in documented()} == set(REASONS)


@pytest.mark.parametrize("reason", ["UNKNOWN", "REJECTED", ""])
def test_a_reason_of_the_brokers_own_is_no_dead_end(reason: str) -> None:
    assert explain_reason(reason)[1] == "perhaps"


def test_a_job_is_shown_with_ids_and_times_that_can_be_read() -> None:
    job = Job(
        update_id=UPDATE_ID.bytes,
        kind="update",
        user_id="u_1",
        action_id="win-round",
        accepted_at_us=1_795_773_600_000_000,
        attempt=4,
    )
    assert decode(job.SerializeToString()) == {
        "update_id": UPDATE_ID,
        "kind": "update",
        "user_id": "u_1",
        "action_id": "win-round",
        "attempt": 4,
        "accepted_at": datetime(2026, 11, 27, 10, tzinfo=UTC),
    }


def test_a_reversal_names_what_it_takes_back() -> None:
    assert decode(Job(reverses=UPDATE_ID.bytes).SerializeToString()) == {"reverses": UPDATE_ID}


def test_ids_and_times_that_cannot_be_are_shown_as_they_are() -> None:
    shown = decode(Job(update_id=b"\x01\x02", accepted_at_us=2**62).SerializeToString())
    assert shown == {"update_id": "0102", "accepted_at_us": 2**62}


def test_bytes_that_are_no_job_are_shown_in_hex() -> None:
    assert decode(b"\xff\xff") == {"bytes": "ffff"}
