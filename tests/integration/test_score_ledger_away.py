"""score_svc's look into the ledger, of a Postgres that is away."""

from __future__ import annotations

from uuid import uuid4

import pytest

from mesh import metrics
from mesh.postgres import create_pool
from score_svc.ledger import LedgerAway, LedgerReader


async def test_a_postgres_that_is_away_is_no_failure_of_redis() -> None:
    failures = metrics.counter("scoreboard_redis_failures_total").child()
    before = failures.value
    async with await create_pool("postgresql://nobody:nothing@127.0.0.1:1/none", name="test", size=1) as pool:
        reader = LedgerReader(pool)
        with pytest.raises(LedgerAway, match="Connect call failed"):
            await reader.outcomes([uuid4()])
        with pytest.raises(LedgerAway, match="failed a moment ago"):  # and nobody waits for it again at once
            await reader.outcomes([uuid4()])
    assert failures.value == before
