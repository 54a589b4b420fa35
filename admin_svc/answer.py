"""Makes the contract's messages of what Postgres says."""

from datetime import UTC, datetime

from board.ledger import Kind, RecordedUpdate
from scoreboard.v1 import admin_pb2 as pb


def rfc3339(instant: datetime) -> str:
    """Returns an instant as RFC 3339 spells it, in UTC and to the microsecond."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def ledger_row(row: RecordedUpdate) -> pb.LedgerRow:
    """Returns a row of the ledger."""
    return pb.LedgerRow(
        update_id=str(row.update_id),
        user_id=row.user_id,
        action_id=row.action_id,
        kind=Kind(row.kind).word,
        outcome=row.outcome.name.lower(),
        reason=row.reason or "",
        score_change=row.score_change,
        score_after=row.score_after,
        reporter=row.reporter or "",
        accepted_at=rfc3339(row.accepted_at),
        applied_at=rfc3339(row.applied_at),
        reverses=str(row.reverses) if row.reverses is not None else "",
        seal_no=row.seal_no,
    )
