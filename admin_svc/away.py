"""Says that Postgres is away: without it AdminService answers nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused


@contextmanager
def answering() -> Iterator[None]:
    """Turns what means that Postgres is away into Refused(SERVICE_AWAY)."""
    try:
        yield
    except AWAY as e:
        raise Refused(Reason.SERVICE_AWAY, "The database does not answer right now; try again.", retry_after_s=1) from e
