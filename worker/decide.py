"""Decides each job of a batch: applied with its points, refused with a reason, parked, or answered from the ledger.

Pure: no clock, no network. worker/apply.py reads what is needed, feeds it, and writes what comes back.
Holds always: a player's jobs are decided in (accepted_at, update_id) order, whatever their order in the batch; an id
that the ledger has is never decided again; cooldowns and caps are kept however late a job comes.

A refusal is a ledger row and so the answer to every retry. One refusal cannot be: UNKNOWN_USER, since a row names a
user. It is answered without a row, and a retry is decided afresh: it counts once there is such a player.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from board.catalogue import Action
from board.instant import from_us
from board.job_pb2 import Job, Result
from board.order import SCORE_MAX
from mesh.reasons import Reason
from worker.limits import Limit, Usage, is_limited, span_needed

TIME_MAX_US = 16**13 - 1  # in the year 2112: what a member of a sorted set has digits for
NAME_CHARACTERS_MAX = 50  # of a user id and of an action id, in contract and tables

# Reasons to park: names of the worker's own, since no call is refused with them.
MALFORMED = "MALFORMED"
UNKNOWN_KIND = "UNKNOWN_KIND"
TOO_OLD = "TOO_OLD"
SCORE_OUT_OF_RANGE = "SCORE_OUT_OF_RANGE"


class Outcome(enum.IntEnum):
    """What became of a job; `Result.outcome` and, for the first two, `score_logs.outcome`."""

    APPLIED = 0
    REFUSED = 1
    PARKED = 2


class State(enum.IntEnum):
    """`users.state`."""

    ACTIVE = 0
    BANNED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Player:
    """A row of `users`, locked by this transaction; `score` is the all-time score before the batch."""

    ref: int
    user_id: str
    username: str
    state: int
    score: int
    version: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the ledger holds under an update id."""

    action_id: str
    outcome: int
    reason: str
    points: int
    score_after: int


@dataclass(frozen=True, slots=True)
class Row:
    """A new ledger row."""

    job: Job
    player: Player
    outcome: Outcome
    reason: str
    points: int
    value: int | None
    score_after: int


UsageKey = tuple[int, str]  # users.id, action_id


@dataclass(slots=True)
class Decided:
    """What is to be written, filed and answered."""

    rows: list[Row] = field(default_factory=list)  # in the order of their decision
    usage: dict[UsageKey, Usage] = field(default_factory=dict)  # only what changed
    results: dict[bytes, Result] = field(default_factory=dict)  # by update_id, for every job
    parked: list[tuple[Job, str]] = field(default_factory=list)  # with its reason, to the dead letters


@dataclass(frozen=True, slots=True)
class Known:
    """What the transaction read before deciding, under the players' locks."""

    players: Mapping[str, Player]  # by user_id
    ledger: Mapping[bytes, Recorded]  # by update_id
    usage: Mapping[UsageKey, Usage]
    #: Times of the counted jobs in the spans that `late` named.
    past: Mapping[UsageKey, Sequence[datetime]] = field(default_factory=dict)


def sift(jobs: Iterable[Job], oldest_id: bytes) -> tuple[list[Job], list[tuple[Job, str]]]:
    """Returns the jobs that can be decided, and those that never can, with the reason.

    oldest_id: the lower bound of the oldest ledger partition. What has older ids may have counted: its row is gone.
    """
    good: list[Job] = []
    parked: list[tuple[Job, str]] = []
    for job in jobs:
        reason = _park_reason(job, oldest_id)
        if reason is None:
            good.append(job)
        else:
            parked.append((job, reason))
    return good, parked


def _park_reason(job: Job, oldest_id: bytes) -> str | None:
    names = (job.user_id, job.action_id)
    if (
        len(job.update_id) != 16
        or not all(1 <= len(name) <= NAME_CHARACTERS_MAX and "\0" not in name for name in names)
        or "\0" in job.reporter
        or not 0 < job.accepted_at_us <= TIME_MAX_US
    ):
        return MALFORMED
    if job.kind != "update":
        return UNKNOWN_KIND
    return TOO_OLD if job.update_id < oldest_id else None


def late(
    jobs: Iterable[Job], players: Mapping[str, Player], usage: Mapping[UsageKey, Usage], actions: Mapping[str, Action]
) -> dict[UsageKey, tuple[datetime, datetime]]:
    """Returns where the usage rows are not enough, with the span [from, until) whose counted jobs decide instead."""
    spans: dict[UsageKey, tuple[datetime, datetime]] = {}
    for job in jobs:
        player, action = players.get(job.user_id), actions.get(job.action_id)
        if player is None or action is None or not is_limited(action):
            continue
        used = usage.get(key := (player.ref, action.action_id))
        if used is not None and (span := span_needed(from_us(job.accepted_at_us), used, action)) is not None:
            known = spans.get(key, span)
            spans[key] = (min(known[0], span[0]), max(known[1], span[1]))
    return spans


def decide(jobs: Sequence[Job], known: Known, actions: Mapping[str, Action]) -> Decided:
    """Decides the jobs that `sift` let through, each id once."""
    decided = Decided()
    scores: dict[int, int] = {}
    limits = _limits(jobs, known, actions)
    for job in sorted(jobs, key=lambda job: (job.accepted_at_us, job.update_id)):
        if job.update_id in decided.results:
            continue  # the same job twice in one batch: its first copy's answer is the answer
        if (recorded := known.ledger.get(job.update_id)) is not None:
            decided.results[job.update_id] = _recorded_result(job, recorded, known.players.get(job.user_id))
        elif (player := known.players.get(job.user_id)) is None:
            decided.results[job.update_id] = _refused_unknown(job)
        else:
            key = (player.ref, job.action_id)
            limit = limits.get(key)
            row = _row(job, player, actions.get(job.action_id), limit, scores.get(player.ref, player.score))
            if abs(row.score_after) > SCORE_MAX:
                decided.parked.append((job, SCORE_OUT_OF_RANGE))
                decided.results[job.update_id] = parked_result(job, SCORE_OUT_OF_RANGE)
                continue
            if row.outcome is Outcome.APPLIED and limit is not None:
                decided.usage[key] = limit.count(from_us(job.accepted_at_us))
            scores[player.ref] = row.score_after
            decided.rows.append(row)
            decided.results[job.update_id] = row_result(row)
    return decided


def row_result(row: Row) -> Result:
    """Returns the answer that a new ledger row is."""
    return Result(
        update_id=row.job.update_id,
        outcome=row.outcome,
        reason=row.reason,
        score_after=row.score_after,
        points=row.points,
        username=row.player.username,
        action_id=row.job.action_id,
    )


def parked_result(job: Job, reason: str) -> Result:
    """Returns the answer to a job that went to the dead letters."""
    return Result(update_id=job.update_id, outcome=Outcome.PARKED, reason=reason, action_id=job.action_id)


def _limits(jobs: Iterable[Job], known: Known, actions: Mapping[str, Action]) -> dict[UsageKey, Limit]:
    limits: dict[UsageKey, Limit] = {}
    for job in jobs:
        player, action = known.players.get(job.user_id), actions.get(job.action_id)
        if player is not None and action is not None and is_limited(action):
            key = (player.ref, action.action_id)
            limits[key] = limits.get(key) or Limit(action, known.usage.get(key), known.past.get(key, ()))
    return limits


def _row(job: Job, player: Player, action: Action | None, limit: Limit | None, score: int) -> Row:
    reason = _refusal(job, player, action)
    if reason is None and limit is not None:
        reason = limit.refusal(from_us(job.accepted_at_us))
    if reason is not None or action is None:
        return Row(job, player, Outcome.REFUSED, str(reason), 0, None, score)
    points = job.value if action.takes_value else action.points
    value = points if action.takes_value else None
    return Row(job, player, Outcome.APPLIED, "", points, value, score + points)


def _refusal(job: Job, player: Player, action: Action | None) -> Reason | None:
    if player.state == State.DELETED:
        return Reason.UNKNOWN_USER
    if player.state == State.BANNED:
        return Reason.BANNED
    if action is None or not action.enabled:
        return Reason.UNKNOWN_ACTION
    if action.server_only and not job.reporter:
        return Reason.SERVER_ONLY_ACTION
    if action.value_min is not None:
        high = action.value_max if action.value_max is not None else SCORE_MAX
        if not job.HasField("value") or not action.value_min <= job.value <= high:
            return Reason.INVALID_ARGUMENT
    return None


def _recorded_result(job: Job, recorded: Recorded, player: Player | None) -> Result:
    return Result(
        update_id=job.update_id,
        outcome=recorded.outcome,
        reason=recorded.reason,
        score_after=recorded.score_after,
        points=recorded.points,
        username=player.username if player is not None else "",
        action_id=recorded.action_id,
    )


def _refused_unknown(job: Job) -> Result:
    return Result(update_id=job.update_id, outcome=Outcome.REFUSED, reason=Reason.UNKNOWN_USER, action_id=job.action_id)
