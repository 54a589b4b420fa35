"""Carries a trusted client's batch: all claims in one pipeline, all jobs in one envelope, each item its own outcome.

Holds always: results stand in the order asked, and only a broker that is away fails the whole.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence

from board.job_pb2 import Result
from mesh.reasons import Reason
from mesh.refusal import Refused
from score_svc.answer import outcome, refused_item
from score_svc.catalogue import TrustedClient
from score_svc.check import Checks
from score_svc.retry import Claim
from score_svc.update import Update, Updates
from scoreboard.v1 import score_pb2

UPDATES_MAX = 500

_Item = Update | Refused


def check_size(count: int) -> None:
    """Raises Refused(INVALID_ARGUMENT) unless it is 1 to 500."""
    if not 1 <= count <= UPDATES_MAX:
        raise Refused(
            Reason.INVALID_ARGUMENT,
            f"updates must be 1 to {UPDATES_MAX}.",
            field="updates",
            limit=UPDATES_MAX,
        )


async def run(
    requests: Sequence[score_pb2.UpdateScoreRequest],
    client: TrustedClient,
    checks: Checks,
    updates: Updates,
    deadline: float,
) -> list[score_pb2.UpdateScoreResponse]:
    """Returns the outcome of each. Raises Refused(BROKER_AWAY) when the broker takes nothing."""
    now_ms = time.time_ns() // 1_000_000
    since = time.monotonic()  # one look of the catalogue serves all unknown actions of the batch
    items = [await _check(request, client, checks, now_ms, since) for request in requests]
    asked = [(item, *updates.ask(item)) for item in items if isinstance(item, Update)]
    waits: list[Awaitable[Result | None]] = []
    for update, age, answer in asked:
        first = await answer
        if first.claim is Claim.NEW:  # the usual case needs no task of its own
            waits.append(updates.wait(update, updates.publish(update, first.at_us), deadline))
        else:
            waits.append(asyncio.ensure_future(updates.follow(update, age, first, deadline)))
    outcomes = [await _settled(wait) for wait in waits]
    for settled in outcomes:
        if isinstance(settled, Refused) and _is_broker(settled):
            raise settled
    results = iter(outcomes)
    return [_response(item, next(results)) if isinstance(item, Update) else refused_item(None, item) for item in items]


async def _check(
    request: score_pb2.UpdateScoreRequest, client: TrustedClient, checks: Checks, now_ms: int, since: float
) -> _Item:
    try:
        return await checks.client_update(request, client, now_ms, since)
    except Refused as e:
        return e


async def _settled(wait: Awaitable[Result | None]) -> Result | Refused | None:
    try:
        return await wait
    except Refused as e:
        return e


def _is_broker(refused: Refused) -> bool:
    return refused.reason is Reason.BROKER_AWAY


def _response(update: Update, settled: Result | Refused | None) -> score_pb2.UpdateScoreResponse:
    if isinstance(settled, Refused):
        return refused_item(update.update_id, settled)
    return outcome(update.update_id, settled)
