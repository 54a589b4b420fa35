"""Decides what each call of the client sends next, given what came: nonce, signature, PENDING.

Pure: no network; clocks and chance are given. A plan is a generator: it yields what is to be done (steps.py), is sent
what came of it, and returns the call's result. How one of its calls is repeated is caller.py's; aio.py and blocking.py
do what is yielded. Holds always: no second nonce for an action whose outcome is unknown.
"""

from __future__ import annotations

from itertools import count
from typing import TypeVar

from google.protobuf.message import Message

from scoreboard.client.answers import (
    Board,
    Place,
    Profile,
    Snapshot,
    Status,
    Update,
    to_board,
    to_place,
    to_profile,
    to_snapshot,
    to_update,
)
from scoreboard.client.caller import Ask, Caller, Repeat, signing_key
from scoreboard.client.errors import ScoreboardError, by_reason
from scoreboard.client.steps import Plan, Session, Sleep, World, do
from scoreboard.client.waits import poll_after_s
from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2, signing

DEADLINE_S = 15.0  # a service that restarts is back within a few seconds

#: What a nonce of the client's own meets whose clock the server does not believe, or where only issued ones are taken.
_CLOCK_REFUSED = frozenset({"NONCE_MALFORMED", "NONCE_EXPIRED"})

#: What a session's end is answered with where the server knows of no such session.
_ENDED = frozenset({"SESSION_REVOKED", "TOKEN_INVALID", "TOKEN_EXPIRED"})

M = TypeVar("M", bound=Message)


class Plans:
    """The plans of one client, and the session that they share."""

    def __init__(self, deadline_s: float = DEADLINE_S, world: World | None = None) -> None:
        self.caller = Caller(deadline_s, world or World())

    @property
    def session(self) -> Session:
        """The session. Raises ScoreboardError(TOKEN_MISSING) before a login."""
        return self.caller.session

    def register(self, username: str, password: str) -> Plan[Session]:
        """Creates an account and logs in. Names have 1 to 100 characters, passwords 8 to 128.

        Raises ScoreboardError, e.g. USERNAME_TAKEN. When it `is_unknown`, `login` tells whether the account was made.
        """
        request = auth_pb2.RegisterRequest(username=username, password=password)
        return (yield from self._signed_in(Ask(request, Repeat.DOUBLES)))

    def guest(self, username: str = "") -> Plan[Session]:
        """Creates a player without a password and signs in; an empty name is made up. Raises ScoreboardError.

        The session is all that leads to the player: keep it, or call `update_profile` with a name and a new password.
        """
        return (yield from self._signed_in(Ask(auth_pb2.GuestRequest(username=username), Repeat.DOUBLES)))

    def login(self, username: str, password: str) -> Plan[Session]:
        """Starts a session. Raises ScoreboardError, e.g. BAD_CREDENTIALS."""
        return (yield from self._signed_in(Ask(auth_pb2.LoginRequest(username=username, password=password))))

    def refresh(self) -> Plan[Session]:
        """Gets new tokens for the session, which happens by itself when they are needed.

        Raises ScoreboardError, e.g. SESSION_REVOKED: then log in again.
        """
        yield from self.caller.refresh()
        return self.session

    def logout(self) -> Plan[None]:
        """Ends the session at the server. Raises ScoreboardError."""
        request = auth_pb2.LogoutRequest(refresh_token=self.session.refresh_token)
        try:
            yield from self.caller.answer(Ask(request), auth_pb2.LogoutResponse)
        except ScoreboardError as error:
            if error.reason not in _ENDED:
                raise
        yield from self.caller.end()

    def update_profile(self, username: str = "", password: str = "", new_password: str = "") -> Plan[Profile]:
        """Changes the player's name, password or both; what is left empty stays as it is.

        An account has to give its present password; a guest becomes an account by a username and a new password. A new
        password ends all other sessions. Raises ScoreboardError, e.g. USERNAME_TAKEN, BAD_CREDENTIALS.
        """
        request = auth_pb2.UpdateProfileRequest(username=username, password=password, new_password=new_password)
        ask = Ask(request, Repeat.SETTLES, is_mine=True)
        return to_profile((yield from self.caller.answer(ask, auth_pb2.Profile)))

    def delete_account(self, password: str = "") -> Plan[None]:
        """Erases the player for good: name, password, sessions, places on the boards. A guest has no password to give.

        Raises ScoreboardError, e.g. BAD_CREDENTIALS.
        """
        ask = Ask(auth_pb2.DeleteAccountRequest(password=password), Repeat.SETTLES, is_mine=True)
        yield from self.caller.answer(ask, auth_pb2.DeleteAccountResponse)
        yield from self.caller.end()

    def nonce(self) -> str:
        """Returns a fresh nonce of the client's own, by the server's clock as the last login told it."""
        now_ms = int(self.caller.world.unix_s() * 1000 + self.caller.clock_ahead_ms)
        return signing.client_nonce(now_ms, self.caller.world.random_bytes(10))

    def issue_nonces(self, action_id: str, count: int = 1) -> Plan[tuple[str, ...]]:
        """Returns nonces of the server's, 1 to 50, each good for one update of this action within 5 minutes.

        Where a deployment takes no others, or the own clock cannot be trusted, `score` asks for one by itself.
        Raises ScoreboardError, e.g. UNKNOWN_ACTION.
        """
        return (yield from self._issued(action_id, count))

    def score(self, action_id: str, *, nonce: str = "", deadline_s: float | None = None) -> Plan[Update]:
        """Counts one action of the player, once, however often it has to be sent; waits until its points count.

        The answer is APPLIED, or at the deadline PENDING: accepted and durable, and `get_update` tells of it later.
        `nonce`: one that was kept with the action before (`nonce()`), or sent before without an answer. `deadline_s`:
        in place of the client's. Raises ScoreboardError, e.g. COOLDOWN, RATE_LIMITED; when it `is_unknown` whether the
        action counted, scoring again with the error's `nonce` settles it.
        """
        until = self.caller.until(deadline_s)
        given = nonce
        while True:
            nonce = given or (yield from self._fresh_nonce(action_id, until))
            try:
                ask = self._score(action_id, nonce)
                answer = yield from self.caller.answer(ask, score_pb2.UpdateScoreResponse, until)
                break
            except ScoreboardError as error:
                error.nonce = nonce if error.is_unknown else ""
                # Not for a given one: what became of it before is not known here.
                is_clock_refused = error.reason in _CLOCK_REFUSED and nonce.startswith("c.")
                if given or error.is_unknown or not is_clock_refused:
                    raise
                self.caller.is_clock_refused = True
        return _accepted((yield from self._settled(to_update(answer), until)))

    def get_update(self, update_id: str) -> Plan[Update]:
        """Returns what became of an update of the player's. Raises ScoreboardError, e.g. NOT_FOUND."""
        return (yield from self._update(update_id))

    def top(self, limit: int = 10, *, offset: int = 0, board: str = "all", period: str = "") -> Plan[Snapshot]:
        """Returns the top of a board: `limit` rows, 1 to 100, after `offset`, 0 to 10,000.

        `period`: a label of `boards`, `previous`, or the current one when empty. Raises ScoreboardError, e.g.
        UNKNOWN_BOARD.
        """
        request = leaderboard_pb2.GetLeaderboardRequest(limit=limit, offset=offset, board=board, period=period)
        return to_snapshot((yield from self._read(request, leaderboard_pb2.GetLeaderboardResponse)))

    def rank(self, user_id: str = "", *, board: str = "all", period: str = "") -> Plan[Place]:
        """Returns a player's place, one's own by default. Raises ScoreboardError, e.g. UNKNOWN_USER: no entry there."""
        request = leaderboard_pb2.GetRankRequest(user_id=user_id or self.session.user_id, board=board, period=period)
        return to_place((yield from self._read(request, leaderboard_pb2.GetRankResponse)))

    def around(self, user_id: str = "", limit: int = 5, *, board: str = "all", period: str = "") -> Plan[Snapshot]:
        """Returns the players ranked next to one, one's own by default, that player among them.

        `limit`: rows on each side, 1 to 50. Raises ScoreboardError, e.g. UNKNOWN_USER: no entry there.
        """
        whose = user_id or self.session.user_id
        request = leaderboard_pb2.GetAroundRequest(user_id=whose, limit=limit, board=board, period=period)
        return to_snapshot((yield from self._read(request, leaderboard_pb2.GetLeaderboardResponse)))

    def boards(self) -> Plan[tuple[Board, ...]]:
        """Returns the boards with their periods. Raises ScoreboardError."""
        message = yield from self._read(leaderboard_pb2.ListBoardsRequest(), leaderboard_pb2.ListBoardsResponse)
        return tuple(map(to_board, message.boards))

    # What the plans share.

    def _signed_in(self, ask: Ask) -> Plan[Session]:
        session = yield from self.caller.answer(ask, auth_pb2.Session)
        yield from self.caller.begin(session)
        return session

    def _read(self, request: Message, reply: type[M]) -> Plan[M]:
        return (yield from self.caller.answer(Ask(request), reply))

    def _score(self, action_id: str, nonce: str) -> Ask:
        session = self.session
        request = score_pb2.UpdateScoreRequest(user_id=session.user_id, action_id=action_id, nonce=nonce)
        signature = signing.sign(signing_key(session), signing.update_payload(session.user_id, action_id, nonce))
        return Ask(request, Repeat.SETTLES, is_mine=True, signature=signature)

    def _fresh_nonce(self, action_id: str, until: float) -> Plan[str]:
        if not self.caller.is_clock_refused:
            return self.nonce()
        return (yield from self._issued(action_id, 1, until))[0]

    def _issued(self, action_id: str, count: int, until: float | None = None) -> Plan[tuple[str, ...]]:
        ask = Ask(score_pb2.IssueNonceRequest(action_id=action_id, count=count), is_mine=True)
        message = yield from self.caller.answer(ask, score_pb2.IssueNonceResponse, until)
        return tuple(message.nonces)

    def _update(self, update_id: str, until: float | None = None) -> Plan[Update]:
        ask = Ask(score_pb2.GetUpdateRequest(update_id=update_id), is_mine=True)
        return to_update((yield from self.caller.answer(ask, score_pb2.UpdateScoreResponse, until)))

    def _settled(self, update: Update, until: float) -> Plan[Update]:
        """Asks for the outcome while it is PENDING, until the deadline; what cannot be asked stays PENDING."""
        for asked in count():
            wait_s = poll_after_s(asked)
            if update.status is not Status.PENDING or wait_s >= self.caller.left_s(until):
                break
            yield from do(Sleep(wait_s))
            try:
                update = yield from self._update(update.update_id, until)
            except ScoreboardError as error:
                # Redis was lost, and the job still waits in the queue.
                if error.reason != "NOT_FOUND":
                    break
        return update


def _accepted(update: Update) -> Update:
    """Returns an update that counts or will. Raises what UpdateScore itself would: a refusal is an error there."""
    if update.status in (Status.APPLIED, Status.PENDING):
        return update
    if update.status is Status.PARKED:
        raise by_reason(
            "INTERNAL", "The update failed again and again; an operator decides.", update_id=update.update_id
        )
    raise by_reason(update.reason, update_id=update.update_id)
