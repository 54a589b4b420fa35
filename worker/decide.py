"""Decides each job of a batch: applied with its points, refused with a reason, parked, or answered from the ledger.

Pure: no clock, no network. worker/apply.py reads what is needed, feeds it, and writes what comes back.
Holds always: a player's jobs are decided in (accepted_at, update_id) order, whatever their order in the batch; an id
that the ledger has is never decided again; cooldowns and caps are kept however late a job comes.

A refusal is a ledger row and so the answer to every retry. One refusal cannot be: UNKNOWN_USER, since a row names a
user. It is answered without a row, and a retry is decided afresh: it counts once there is such a player.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from board.catalogue import Action
from board.instant import from_us
from board.job_pb2 import Job, Result
from board.ledger import PARKED, ActionUsage, Kind, LedgerRow, LockedUser, Outcome, RecordedUpdate, State
from board.order import SCORE_MAX
from mesh.reasons import Reason
from worker.limits import Limit, is_limited, span_needed

TIME_MAX_US = 16**13 - 1  # in the year 2112: what a member of a sorted set has digits for
NAME_CHARACTERS_MAX = 50  # of a user id and of an action id, in contract and tables

#: Jobs that are no updates, by `Job.kind`: acts on a player, applied alone (worker/act.py).
ACTS: Mapping[str, Kind] = {kind.word: kind for kind in Kind if kind not in (Kind.UPDATE, Kind.IMPORT)}


# Reasons to park: names of the worker's own, since no call is refused with them.
MALFORMED = "MALFORMED"
UNKNOWN_KIND = "UNKNOWN_KIND"
TOO_OLD = "TOO_OLD"
SCORE_OUT_OF_RANGE = "SCORE_OUT_OF_RANGE"


_STATE_REFUSALS: Mapping[int, Reason] = {State.BANNED: Reason.BANNED, State.DELETED: Reason.UNKNOWN_USER}


UsageKey = tuple[int, str]  # users.id, action_id


@dataclass(slots=True)
class Decided:
    """What is to be written, filed and answered."""

    rows: list[LedgerRow] = field(default_factory=list)  # in the order of their decision
    usage: dict[UsageKey, ActionUsage] = field(default_factory=dict)  # only what changed
    results: dict[bytes, Result] = field(default_factory=dict)  # by update_id, for every job
    parked: list[tuple[Job, str]] = field(default_factory=list)  # with its reason, to the dead letters


@dataclass(frozen=True, slots=True)
class Known:
    """What the transaction read before deciding, under the players' locks."""

    players: Mapping[str, LockedUser]  # by user_id
    ledger: Mapping[UUID, RecordedUpdate]  # by update_id
    usage: Mapping[UsageKey, ActionUsage]
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


def is_act(job: Job) -> bool:
    """Whether the job is an act on a player, and no update."""
    return job.kind in ACTS


def together(jobs: Sequence[Job]) -> list[Sequence[Job]]:
    """Returns the jobs by transaction: all updates, then each act alone."""
    acts = [job for job in jobs if is_act(job)]
    if not acts:
        return [jobs]
    updates = [job for job in jobs if not is_act(job)]
    return [*([updates] if updates else []), *([act] for act in acts)]


def _park_reason(job: Job, oldest_id: bytes) -> str | None:
    if len(job.update_id) != 16:
        return MALFORMED
    if job.kind != Kind.UPDATE.word and not is_act(job):
        return UNKNOWN_KIND
    names = (job.user_id,) if is_act(job) else (job.user_id, job.action_id)
    if (
        not all(1 <= len(name) <= NAME_CHARACTERS_MAX and "\0" not in name for name in names)
        or "\0" in job.reporter + job.text + job.name + job.name_key
        or not 0 < job.accepted_at_us <= TIME_MAX_US
    ):
        return MALFORMED
    return TOO_OLD if job.update_id < oldest_id else None


def late(
    jobs: Iterable[Job],
    players: Mapping[str, LockedUser],
    usage: Mapping[UsageKey, ActionUsage],
    actions: Mapping[str, Action],
) -> dict[UsageKey, tuple[datetime, datetime]]:
    """Returns where the usage rows are not enough, with the span [from, until) whose counted jobs decide instead."""
    spans: dict[UsageKey, tuple[datetime, datetime]] = {}
    for job in jobs:
        player, action = players.get(job.user_id), actions.get(job.action_id)
        if player is None or action is None or not is_limited(action):
            continue
        used = usage.get(key := (player.user_ref, action.action_id))
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
        if (recorded := known.ledger.get(UUID(bytes=job.update_id))) is not None:
            decided.results[job.update_id] = recorded.result
        elif (player := known.players.get(job.user_id)) is None:
            decided.results[job.update_id] = refused_unknown(job)
        else:
            key = (player.user_ref, job.action_id)
            limit = limits.get(key)
            row = _row(job, player, actions.get(job.action_id), limit, scores.get(player.user_ref, player.score))
            if abs(row.score_after) > SCORE_MAX:
                decided.parked.append((job, SCORE_OUT_OF_RANGE))
                decided.results[job.update_id] = parked_result(job, SCORE_OUT_OF_RANGE)
                continue
            if row.outcome is Outcome.APPLIED and limit is not None:
                decided.usage[key] = limit.count(from_us(job.accepted_at_us))
            scores[player.user_ref] = row.score_after
            decided.rows.append(row)
            decided.results[job.update_id] = _row_result(row, player)
    return decided


def parked_result(job: Job, reason: str) -> Result:
    """Returns the answer to a job that went to the dead letters."""
    return Result(update_id=job.update_id, outcome=PARKED, reason=reason, action_id=job.action_id)


def _limits(jobs: Iterable[Job], known: Known, actions: Mapping[str, Action]) -> dict[UsageKey, Limit]:
    limits: dict[UsageKey, Limit] = {}
    for job in jobs:
        player, action = known.players.get(job.user_id), actions.get(job.action_id)
        if player is not None and action is not None and is_limited(action):
            key = (player.user_ref, action.action_id)
            limits[key] = limits.get(key) or Limit(
                player.user_ref, action, known.usage.get(key), known.past.get(key, ())
            )
    return limits


def _row(job: Job, player: LockedUser, action: Action | None, limit: Limit | None, score: int) -> LedgerRow:
    accepted_at = from_us(job.accepted_at_us)
    reason = _STATE_REFUSALS.get(player.state) or catalogue_refusal(job, action)
    if reason is None and limit is not None:
        reason = limit.refusal(accepted_at)
    points = 0 if reason is not None or action is None else job.value if action.takes_value else action.points
    return LedgerRow(
        update_id=UUID(bytes=job.update_id),
        user_ref=player.user_ref,
        action_id=job.action_id,
        outcome=Outcome.APPLIED if reason is None else Outcome.REFUSED,
        reason=reason,
        score_change=points,
        value=points if reason is None and action is not None and action.takes_value else None,
        score_after=score + points,
        reporter=job.reporter or None,
        accepted_at=accepted_at,
    )


def catalogue_refusal(job: Job, action: Action | None) -> Reason | None:
    """Returns why the catalogue does not let the job count, or None; cooldown and cap apart."""
    if action is None or not action.enabled:
        return Reason.UNKNOWN_ACTION
    if action.server_only and not job.reporter:
        return Reason.SERVER_ONLY_ACTION
    if action.value_min is not None and action.value_max is not None:
        is_in_range = job.HasField("value") and action.value_min <= job.value <= action.value_max
        return None if is_in_range else Reason.INVALID_ARGUMENT
    return None


def _row_result(row: LedgerRow, player: LockedUser) -> Result:
    return Result(
        update_id=row.update_id.bytes,
        outcome=row.outcome,
        reason=row.reason or "",
        score_after=row.score_after,
        points=row.score_change,
        username=player.username,
        action_id=row.action_id,
    )


def refused_unknown(job: Job) -> Result:
    """Returns the answer to a job of nobody's."""
    return Result(update_id=job.update_id, outcome=Outcome.REFUSED, reason=Reason.UNKNOWN_USER, action_id=job.action_id)
