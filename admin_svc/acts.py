"""Asks the workers for acts on a player, and says what came of each.

The worker decides, under the player's lock, and writes the ledger row and the admin log's line. Holds always: an act
that was not answered in time may be asked for again; a change of state and a reversal then still happen once, an
adjustment where it has a request_id.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from admin_svc import act_id, fields
from admin_svc.pause import read_paused
from admin_svc.users import Player
from board import ledger
from board.job_pb2 import Job
from board.ledger import Kind, Outcome, RecordedUpdate, State
from board.submit import WITHIN_S, Submitter
from board.update_id import reversal_id
from board.username import Username
from mesh.call import Call
from mesh.reasons import Reason
from mesh.refusal import Refused, invalid

ANSWER_S = 0.3  # of a caller's deadline, to tell that an act was accepted
STATES: Mapping[str, State] = {state.name.lower(): state for state in (State.ACTIVE, State.BANNED)}
_KINDS: Mapping[State, Kind] = {State.ACTIVE: Kind.UNBAN, State.BANNED: Kind.BAN}
_SENTENCES: Mapping[str, str] = {
    Reason.UNKNOWN_USER: "There is no such player, or it was erased.",
    Reason.BANNED: "A banned player's score is not adjusted: end the ban first.",
    Reason.USERNAME_TAKEN: "Another player has that name: choose another one.",
    Reason.INVALID_ARGUMENT: "The score would leave the range of whole numbers within 2^53.",
    Reason.NOT_FOUND: "That update was never applied.",
}


class Acts:
    """What an operator may do to a player. Every method raises Refused as Submitter.submit does, too."""

    def __init__(self, pool: asyncpg.Pool, submitter: Submitter) -> None:
        self._pool = pool
        self._submitter = submitter

    async def set_state(self, call: Call, player: Player, state: State, reason: str) -> None:
        """Bans a player or ends the ban; nothing where it is so already. Raises Refused(UNKNOWN_USER)."""
        if player.state is not state:
            kind = _KINDS[state]
            await self._do(call, player, kind, _key_of_state(kind, player), text=reason)

    async def delete(self, call: Call, player: Player, reason: str) -> None:
        """Erases a player. Raises Refused(UNKNOWN_USER)."""
        await self._do(call, player, Kind.DELETE, _key_of_state(Kind.DELETE, player), text=reason)

    async def rename(self, call: Call, player: Player, name: Username, reason: str) -> None:
        """Gives a player another name. Raises Refused: UNKNOWN_USER, USERNAME_TAKEN."""
        key = act_id.of_now(call.caller.subject, player.ref, _now_ms())
        await self._do(call, player, Kind.RENAME, key, text=reason, name=name.shown, name_key=name.key)

    async def adjust(self, call: Call, player: Player, change: int, request_id: str, reason: str) -> RecordedUpdate:
        """Adds points and returns the ledger row. Raises Refused: INVALID_ARGUMENT, UNKNOWN_USER, BANNED."""
        if request_id:
            asked = fields.request_id(request_id, datetime.now(UTC))
            key = act_id.of_request(asked, call.caller.subject, player.ref)
        else:
            key = act_id.of_now(call.caller.subject, player.ref, _now_ms())
        row = await self._do(call, player, Kind.ADJUSTMENT, key, text=reason, value=change)
        if row.score_change != change:
            raise invalid("request_id", "was used for another change of this player's score")
        return row

    async def find_reversible(self, update_id: UUID) -> RecordedUpdate:
        """Returns the row of an update that can be taken back. Raises Refused(NOT_FOUND)."""
        row = (await ledger.find_updates(self._pool, [update_id])).get(update_id)
        if row is None or row.outcome is not Outcome.APPLIED:
            raise Refused(Reason.NOT_FOUND, f"The update {update_id} was never applied.", update_id=update_id)
        if row.kind not in (Kind.UPDATE, Kind.IMPORT):
            message = f"{update_id} is no update; adjust the score instead."
            raise Refused(Reason.NOT_FOUND, message, update_id=update_id)
        return row

    async def reverse(self, call: Call, player: Player, original: RecordedUpdate, reason: str) -> RecordedUpdate:
        """Takes an update back and returns the reversal's row, also of one that was asked for before."""
        key = reversal_id(original.update_id)
        done = (await ledger.find_updates(self._pool, [key])).get(key)
        if done is not None:
            return done
        return await self._do(call, player, Kind.REVERSAL, key, text=reason, reverses=original.update_id.bytes)

    async def _do(self, call: Call, player: Player, kind: Kind, key: UUID, **more: object) -> RecordedUpdate:
        job = Job(
            update_id=key.bytes,
            kind=kind.word,
            user_id=player.user_id,
            reporter=call.caller.subject,
            accepted_at_us=time.time_ns() // 1000,
        )
        job.MergeFrom(Job(**more))  # type: ignore[arg-type]
        try:
            within_s = call.remaining_s(WITHIN_S + ANSWER_S) - ANSWER_S
            result = await self._submitter.submit(job, within_s=max(0.0, within_s))
        except Refused as refused:
            if refused.reason is Reason.DEADLINE_EXCEEDED and await read_paused(self._pool):
                raise _paused(key) from refused
            raise
        if result.outcome != Outcome.APPLIED:
            reason = Reason(result.reason)
            raise Refused(reason, _SENTENCES.get(reason, "The act was refused."), update_id=key)
        return (await ledger.find_updates(self._pool, [key]))[key]


def _key_of_state(kind: Kind, player: Player) -> UUID:
    return act_id.of_state(kind, player.ref, player.version, _now_ms())


def _paused(key: UUID) -> Refused:
    message = "It was accepted, but the workers are paused: it is applied when they go on (SetPaused)."
    return Refused(Reason.DEADLINE_EXCEEDED, message, update_id=key)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
