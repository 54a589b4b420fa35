"""Opens messages into jobs, and groups results by who asked.

Pure. Holds always: whoever asked for a job is among those that its result goes to, with one message a batch and asker.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from board.job_pb2 import Job, Jobs, Result, Results


@dataclass(frozen=True, slots=True)
class Asked:
    """A job and where its result is awaited; None: nowhere."""

    job: Job
    reply_to: str | None


def open_envelope(body: bytes) -> Sequence[Job] | None:
    """Returns the jobs of a message; None when it is no envelope, or an empty one."""
    try:
        jobs = Jobs.FromString(body).jobs
    except DecodeError:
        return None
    return jobs or None


def envelope(jobs: Iterable[Job]) -> bytes:
    """Returns the body of a message with these jobs."""
    return Jobs(jobs=jobs).SerializeToString()


def replies(asked: Iterable[Asked], results: Mapping[bytes, Result]) -> dict[str, bytes]:
    """Returns the bodies to send, by asker. A job without a result yet (it waits for another try) has none in them."""
    grouped: dict[str, dict[bytes, Result]] = {}
    for each in asked:
        result = results.get(each.job.update_id)
        if each.reply_to and result is not None:
            grouped.setdefault(each.reply_to, {})[each.job.update_id] = result
    return {asker: Results(results=mine.values()).SerializeToString() for asker, mine in grouped.items()}
