"""AdminService: requests in, rules, answers out. Knows no transport."""

from collections.abc import AsyncIterator

import asyncpg

from admin_svc import config, fields, ledger_query, pause, rebuild
from admin_svc.acts import STATES, Acts
from admin_svc.answer import ledger_row
from admin_svc.away import answering
from admin_svc.dead_letters import DeadLetters
from admin_svc.operators import OPERATING
from admin_svc.users import Player, Users
from board.catalogue_cache import CatalogueCache
from board.username import check_username
from mesh.call import Call
from mesh.refusal import invalid
from mesh.rpc import Access
from scoreboard.v1 import admin_pb2 as pb

LEDGER_ROWS_DEFAULT, LEDGER_ROWS_MAX = 1_000, 100_000
DEAD_LETTERS_DEFAULT, DEAD_LETTERS_MAX = 100, 1_000
REPLAYED_MAX = 1_000

_MODERATOR, _OPERATOR, _ADMIN = (Access(token=True, roles=OPERATING[rank:]) for rank in range(len(OPERATING)))
ACCESS = {
    "ApplyConfig": _ADMIN,
    "GetUser": _MODERATOR,
    "SetUserState": _MODERATOR,
    "RenameUser": _MODERATOR,
    "DeleteUser": _ADMIN,
    "ReverseUpdate": _MODERATOR,
    "AdjustScore": _ADMIN,
    "QueryLedger": _MODERATOR,
    "ListDeadLetters": _OPERATOR,
    "ReplayDeadLetters": _OPERATOR,
    "RebuildBoard": _OPERATOR,
    "SetPaused": _OPERATOR,
}


class AdminServicer:
    """Answers AdminService's calls; admin.proto says what each does."""

    def __init__(
        self, pool: asyncpg.Pool, catalogue: CatalogueCache, users: Users, acts: Acts, dead_letters: DeadLetters
    ) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._users = users
        self._acts = acts
        self._dead_letters = dead_letters

    async def apply_config(self, request: pb.ApplyConfigRequest, call: Call) -> pb.ApplyConfigResponse:
        """Applies a catalogue's file."""
        reason = fields.reason(request.reason, may_be_empty=True)
        with answering():
            applied = await config.apply_config(self._pool, call.caller, request.toml, reason, dry_run=request.dry_run)
        return pb.ApplyConfigResponse(changes=applied.changes, revision=applied.revision)

    async def get_user(self, request: pb.GetUserRequest, call: Call) -> pb.AdminUser:
        """Tells a player's state, places and last ledger rows."""
        with answering():
            player = await self._users.find(fields.name("user_id", request.user_id))
            return await self._users.describe(player.ref)

    async def set_user_state(self, request: pb.SetUserStateRequest, call: Call) -> pb.AdminUser:
        """Bans a player, or ends the ban."""
        reason, state = fields.reason(request.reason), STATES.get(request.state)
        if state is None:
            raise invalid("state", f"must be {' or '.join(STATES)}")
        with answering():
            player = await self._reachable(request.user_id, call)
            await self._acts.set_state(call, player, state, reason)
            return await self._users.describe(player.ref)

    async def rename_user(self, request: pb.RenameUserRequest, call: Call) -> pb.AdminUser:
        """Gives a player another name."""
        reason, name = fields.reason(request.reason), check_username(request.username)
        with answering():
            player = await self._reachable(request.user_id, call)
            await self._acts.rename(call, player, name, reason)
            return await self._users.describe(player.ref)

    async def delete_user(self, request: pb.DeleteUserRequest, call: Call) -> pb.AdminUser:
        """Erases a player."""
        reason = fields.reason(request.reason)
        with answering():
            player = await self._reachable(request.user_id, call)
            await self._acts.delete(call, player, reason)
            return await self._users.describe(player.ref)

    async def reverse_update(self, request: pb.ReverseUpdateRequest, call: Call) -> pb.LedgerRow:
        """Takes an applied update back."""
        reason, update_id = fields.reason(request.reason), fields.uuid("update_id", request.update_id)
        with answering():
            original = await self._acts.find_reversible(update_id)
            player = await self._reachable(original.user_id, call)
            return ledger_row(await self._acts.reverse(call, player, original, reason))

    async def adjust_score(self, request: pb.AdjustScoreRequest, call: Call) -> pb.LedgerRow:
        """Adds points, or takes some."""
        reason, change = fields.reason(request.reason), fields.change(request.change)
        with answering():
            player = await self._reachable(request.user_id, call)
            row = await self._acts.adjust(call, player, change, request.request_id, reason)
        return ledger_row(row)

    async def query_ledger(self, request: pb.QueryLedgerRequest, call: Call) -> AsyncIterator[pb.LedgerRow]:
        """Streams ledger rows, the latest first."""
        limit = request.limit if request.HasField("limit") else None
        with answering():
            player = await self._users.find(fields.name("user_id", request.user_id)) if request.user_id else None
            wanted = ledger_query.Wanted(
                user_ref=player.ref if player else None,
                action_id=fields.name("action_id", request.action_id) if request.action_id else None,
                since=fields.instant("since", request.since),
                until=fields.instant("until", request.until),
                limit=fields.limit(limit, LEDGER_ROWS_DEFAULT, LEDGER_ROWS_MAX),
            )
            async for row in ledger_query.read(self._pool, wanted):
                yield ledger_row(row)

    async def list_dead_letters(self, request: pb.ListDeadLettersRequest, call: Call) -> pb.ListDeadLettersResponse:
        """Lists jobs that were given up, the oldest first."""
        given = request.limit if request.HasField("limit") else None
        limit = fields.limit(given, DEAD_LETTERS_DEFAULT, DEAD_LETTERS_MAX)
        with answering():
            return await self._dead_letters.oldest(limit)

    async def replay_dead_letters(
        self, request: pb.ReplayDeadLettersRequest, call: Call
    ) -> pb.ReplayDeadLettersResponse:
        """Queues dead letters again."""
        reason = fields.reason(request.reason)
        if request.all == bool(request.update_ids) or len(request.update_ids) > REPLAYED_MAX:
            raise invalid("update_ids", f"must be 1 to {REPLAYED_MAX}, or none with `all`")
        update_ids = list(dict.fromkeys(fields.uuid("update_ids", text) for text in request.update_ids))
        with answering():
            if request.all:
                replayed = await self._dead_letters.replay_all(call.caller, reason)
            else:
                replayed = await self._dead_letters.replay(call.caller, update_ids, reason)
        return pb.ReplayDeadLettersResponse(replayed=replayed.count, refused=replayed.refused)

    async def rebuild_board(self, request: pb.RebuildBoardRequest, call: Call) -> AsyncIterator[pb.RebuildProgress]:
        """Builds a board anew, and tells how far that is."""
        reason = fields.reason(request.reason, may_be_empty=True)
        name = fields.name("board", request.board) if request.board else ""
        period = fields.name("period", request.period) if request.period else ""
        with answering():
            board = await rebuild.find_open(self._pool, self._catalogue, name, period)
            number = await rebuild.ask(self._pool, call.caller, board, reason)
            async for progress in rebuild.progress(self._pool, number):
                yield progress

    async def set_paused(self, request: pb.SetPausedRequest, call: Call) -> pb.SetPausedResponse:
        """Makes the workers rest, or go on."""
        reason = fields.reason(request.reason)
        with answering():
            await pause.set_paused(self._pool, call.caller, request.paused, reason)
        return pb.SetPausedResponse(paused=request.paused)

    async def _reachable(self, user_id: str, call: Call) -> Player:
        player = await self._users.find(fields.name("user_id", user_id))
        player.check_reach(call.caller)
        return player
