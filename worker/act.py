"""Applies an act on a player in a transaction of its own: ban, unban, reversal, adjustment, new name, erasure.

As for updates the player's lock comes first, then the ledger row whose key makes the act happen once, then what it
changes; and a line of the admin log. Holds always: all of it is committed or nothing; a reversal counts once and takes
the points from every period they went to; a refused act is a ledger row too, unless it names nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from board import acts, ledger
from board.acts import ActRow
from board.catalogue import DEFAULT_BOARD, Catalogue
from board.dead_letters import remove_dead_letters
from board.entry import Entry
from board.fold import LedgerChange, boards_touched, fold
from board.instant import from_us
from board.job_pb2 import Job, Result
from board.ledger import Kind, LockedUser, Outcome, RecordedUpdate, State
from board.order import SCORE_MAX
from board.username import USERNAME_MAX
from mesh import points
from mesh.reasons import Reason
from mesh.sql import Connection
from worker.applied import Applied, ClosingTimes
from worker.decide import ACTS, refused_unknown

PLAYER = "player"  # the actor of what a player asks for himself
STATES: Mapping[Kind, State] = {Kind.BAN: State.BANNED, Kind.UNBAN: State.ACTIVE}


@dataclass(frozen=True, slots=True)
class Act:
    """A job and what the transaction read for it, under the player's lock."""

    job: Job
    kind: Kind
    player: LockedUser
    original: RecordedUpdate | None  # what a reversal takes back
    is_name_taken: bool  # by another player, of a new name


async def apply_act(conn: Connection, job: Job, catalogue: Catalogue, closing: ClosingTimes) -> Applied:
    """Applies the act. Raises whatever the database raises, after which nothing of it may be committed."""
    users, _ = await ledger.lock_users(conn, {job.user_id})
    points.reached("worker.after_locks")
    update_id = UUID(bytes=job.update_id)
    if (recorded := (await ledger.find_updates(conn, {update_id})).get(update_id)) is not None:
        return await _again(conn, recorded)
    if not users:
        return Applied({job.update_id: refused_unknown(job)})
    act = await _read(conn, job, users[0])
    if act.kind is Kind.REVERSAL and act.original is None:
        # Without a row: the update may still be on its way, and can be taken back once it has counted.
        return Applied({job.update_id: _result(act, Reason.NOT_FOUND, act.player.score)})
    return await _write(conn, act, catalogue, closing)


async def _read(conn: Connection, job: Job, player: LockedUser) -> Act:
    kind = ACTS[job.kind]
    original = None
    if kind is Kind.REVERSAL and len(job.reverses) == 16:
        reverses = UUID(bytes=job.reverses)
        found = (await ledger.find_updates(conn, {reverses})).get(reverses)
        original = found if found is not None and _can_be_reversed(found, player) else None
    is_taken = bool(job.name_key) and await acts.is_name_taken(conn, player.user_ref, job.name_key)
    return Act(job, kind, player, original, is_taken)


def _can_be_reversed(found: RecordedUpdate, player: LockedUser) -> bool:
    return (
        found.kind in (Kind.UPDATE, Kind.IMPORT)
        and found.outcome is Outcome.APPLIED
        and found.user_ref == player.user_ref
    )


def refusal(act: Act) -> Reason | None:
    """Returns why the act is refused for good, or None."""
    if act.player.state == State.DELETED and act.kind is not Kind.REVERSAL:
        return Reason.UNKNOWN_USER
    match act.kind:
        case Kind.ADJUSTMENT if act.player.state == State.BANNED:
            return Reason.BANNED
        case Kind.ADJUSTMENT if act.job.value == 0 or abs(act.player.score + act.job.value) > SCORE_MAX:
            return Reason.INVALID_ARGUMENT
        case Kind.RENAME if not 1 <= len(act.job.name) <= USERNAME_MAX:
            return Reason.INVALID_ARGUMENT
        case Kind.RENAME if act.is_name_taken:
            return Reason.USERNAME_TAKEN
        case _:
            return None


async def _write(conn: Connection, act: Act, catalogue: Catalogue, closing: ClosingTimes) -> Applied:
    row = _row(act, refusal(act), catalogue.revision)
    applied_at = await acts.add_act(conn, row)
    assert applied_at is not None, "the id was looked for under the player's lock, and no other player can have it"
    applied = Applied({act.job.update_id: _result(act, row.reason, row.score_after, row.score_change)})
    if row.outcome is Outcome.APPLIED:
        applied.entries = await _change(conn, act, row, catalogue, closing, applied_at)
        applied.names = await ledger.read_names(conn, {row.user_ref})
        await acts.log_act(
            conn,
            actor=row.reporter or PLAYER,
            action=act.kind.word,
            target=str(row.user_ref),
            reason=act.job.text,
            before={"state": act.player.state, "score": act.player.score},
            after=_after(act, row),
        )
    await remove_dead_letters(conn, {row.update_id})
    return applied


async def _change(
    conn: Connection, act: Act, row: ActRow, catalogue: Catalogue, closing: ClosingTimes, applied_at: datetime
) -> list[Entry]:
    player, is_active = act.player, act.player.state == State.ACTIVE
    match act.kind:
        case Kind.BAN | Kind.UNBAN:
            return await acts.set_state(conn, player.user_ref, STATES[act.kind])
        case Kind.DELETE:
            return await acts.erase(conn, player.user_ref)
        case Kind.RENAME:
            key = act.job.name_key or None
            return await acts.rename(conn, player.user_ref, act.job.name, key, is_active=is_active)
        case Kind.REVERSAL:
            assert row.reverses is not None
            changed, shown = await acts.take_back(conn, player.user_ref, row.reverses, is_active=is_active)
            all_time = catalogue.boards[DEFAULT_BOARD].board_id
            for entry in changed:
                if entry.board.board_id == all_time:  # one at most: it has one period
                    await acts.copy_score(conn, entry)
            return shown
        case _:
            return await _adjust(conn, row, catalogue, closing, applied_at)


async def _adjust(
    conn: Connection, row: ActRow, catalogue: Catalogue, closing: ClosingTimes, applied_at: datetime
) -> list[Entry]:
    change = LedgerChange(row.user_ref, row.action_id, row.score_change, None, row.accepted_at, is_measure=False)
    boards = catalogue.boards.values()
    closes_at = await closing(conn, boards_touched(boards, [change]), catalogue)
    folded = fold(boards, [change], applied_at=applied_at, closes_at=closes_at)
    return await ledger.put_entries(conn, folded, catalogue.boards[DEFAULT_BOARD].board_id)


async def _again(conn: Connection, recorded: RecordedUpdate) -> Applied:
    """Answers an act that the ledger has; what was committed may not have reached Redis."""
    return Applied(
        {recorded.update_id.bytes: recorded.result},
        entries=await acts.open_entries(conn, recorded.user_ref),
        names=await ledger.read_names(conn, {recorded.user_ref}),
    )


def _row(act: Act, reason: Reason | None, revision: int) -> ActRow:
    original = act.original
    change = 0
    if reason is None:
        if original is not None:
            change = -original.score_change
        elif act.kind is Kind.ADJUSTMENT:
            change = act.job.value
    return ActRow(
        update_id=UUID(bytes=act.job.update_id),
        user_ref=act.player.user_ref,
        # A reversal stands beside what it takes back: the same action, period and revision, whatever day it is.
        action_id=original.action_id if original is not None else f"@{act.kind.word}",
        kind=act.kind,
        outcome=Outcome.APPLIED if reason is None else Outcome.REFUSED,
        reason=reason,
        score_change=change,
        score_after=act.player.score + change,
        reporter=act.job.reporter or None,
        reverses=original.update_id if original is not None else None,
        revision=original.revision if original is not None else revision,
        accepted_at=original.accepted_at if original is not None else from_us(act.job.accepted_at_us),
    )


def _after(act: Act, row: ActRow) -> dict[str, object]:
    after: dict[str, object] = {"update_id": str(row.update_id), "score": row.score_after}
    if row.reverses is not None:
        after["reverses"] = str(row.reverses)
    if act.kind in STATES:
        after["state"] = STATES[act.kind]
    return after


def _result(act: Act, reason: str | None, score: int, points_: int = 0) -> Result:
    return Result(
        update_id=act.job.update_id,
        outcome=Outcome.APPLIED if reason is None else Outcome.REFUSED,
        reason=reason or "",
        score_after=score,
        points=points_,
        username=act.player.username,
        action_id=f"@{act.kind.word}",
    )
