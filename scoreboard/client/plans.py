"""Decides what each call of the client sends next, given what came: nonce, signature, tokens, repeats, PENDING.

Pure: no network; clocks and chance are given. A plan is a generator: it yields what is to be done (`Call`, `Sleep`,
`Alone`, `Keep`), is sent what came of it, and returns the call's result. scoreboard/client/aio.py and blocking.py do
what it yields. Holds always: no second nonce for an action whose outcome is unknown, nothing sent after the deadline,
and one refresh at a time.
"""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import Any, TypeAlias, TypeVar

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
from scoreboard.client.errors import ScoreboardError, by_reason
from scoreboard.client.waits import again_after_s, poll_after_s
from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2, signing

DEADLINE_S = 15.0  # a service that restarts is back within a few seconds
CALL_TIMEOUT_S = 5.0  # the gateway's own for one try, so that it answers first
RENEW_BEFORE_S = 30.0  # of an access token's end; covers clocks that differ and slow networks
REFRESH_WITHIN_S = 50.0  # a signed refresh is safe to repeat for 60 s

#: Answers to a nonce that stand for all repeats: whoever gets one knows what became of the first try.
_OUTCOMES = frozenset({"COOLDOWN", "CAP_REACHED", "BANNED"})
#: What a nonce of the client's own meets whose clock the server does not believe, or where only issued ones are taken.
_CLOCK_REFUSED = frozenset({"NONCE_MALFORMED", "NONCE_EXPIRED"})

#: What a session's end is answered with where the server knows of no such session.
_ENDED = frozenset({"SESSION_REVOKED", "TOKEN_INVALID", "TOKEN_EXPIRED"})

R = TypeVar("R")
M = TypeVar("M", bound=Message)
Metadata: TypeAlias = tuple[tuple[str, str], ...]
Session: TypeAlias = auth_pb2.Session


@dataclass(frozen=True)
class Call:
    """Make the unary call that this request is for; its response is the answer."""

    request: Message
    metadata: Metadata
    timeout_s: float


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Alone:
    """Carry a plan out while no other of this client's is carried out alone; do not wait for that past the deadline."""

    plan: Plan[None]
    within_s: float


@dataclass(frozen=True)
class Keep:
    """Give the session, or its end, to whoever keeps it."""

    session: Session | None


Step: TypeAlias = Call | Sleep | Alone | Keep
Answer: TypeAlias = Message | ScoreboardError | None
Plan: TypeAlias = Generator[Step, Answer, R]


@dataclass(frozen=True)
class World:
    """Time and chance. `unix_s` goes on while a machine sleeps, `monotonic_s` is never set; `chance` is below 1."""

    unix_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    random_bytes: Callable[[int], bytes] = os.urandom


class Repeat(Enum):
    """What a repeat of a call may do."""

    HARMLESS = auto()
    """Nothing: it reads, or what it makes twice is nobody's loss."""
    SETTLES = auto()
    """It has one effect, however often it arrives, and then tells of it."""
    DOUBLES = auto()
    """Each one that arrives has an effect: sent again only when it is known that none had."""


@dataclass(frozen=True)
class _Ask:
    """A call that a plan wants answered. is_mine: it needs the player's access token."""

    request: Message
    repeat: Repeat = Repeat.HARMLESS
    is_mine: bool = False
    signature: str = ""

    def metadata(self, token: str) -> Metadata:
        signed = (("x-signature", self.signature),) if self.signature else ()
        return (*bearer(token), *signed)


class Plans:
    """The plans of one client, and the session that they share."""

    def __init__(self, deadline_s: float = DEADLINE_S, world: World | None = None) -> None:
        self.world = world or World()
        self._deadline_s = deadline_s
        self._session: Session | None = None
        self._renew_at = 0.0  # unix seconds
        self._clock_ahead_ms = 0.0  # server's clock minus ours
        self._is_clock_refused = False  # since the last session's server time; then nonces are asked for

    @property
    def session(self) -> Session:
        """The session. Raises ScoreboardError(TOKEN_MISSING) before a login."""
        if self._session is None:
            raise by_reason("TOKEN_MISSING", "Not logged in: call login, register, guest or resume first.")
        return self._session

    def register(self, username: str, password: str) -> Plan[Session]:
        """Creates an account and logs in. Names have 1 to 100 characters, passwords 8 to 128.

        Raises ScoreboardError, e.g. USERNAME_TAKEN. When it `is_unknown`, `login` tells whether the account was made.
        """
        request = auth_pb2.RegisterRequest(username=username, password=password)
        return (yield from self._signed_in(_Ask(request, Repeat.DOUBLES)))

    def guest(self, username: str = "") -> Plan[Session]:
        """Creates a player without a password and signs in; an empty name is made up. Raises ScoreboardError.

        The session is all that leads to the player: keep it, or call `update_profile` with a name and a new password.
        """
        return (yield from self._signed_in(_Ask(auth_pb2.GuestRequest(username=username), Repeat.DOUBLES)))

    def login(self, username: str, password: str) -> Plan[Session]:
        """Starts a session. Raises ScoreboardError, e.g. BAD_CREDENTIALS."""
        return (yield from self._signed_in(_Ask(auth_pb2.LoginRequest(username=username, password=password))))

    def resume(self, session: Session) -> None:
        """Takes a session that was kept; its access token is renewed when it is needed and over."""
        self._session = session
        self._renew_at = session.server_time / 1000 + session.expires_in - RENEW_BEFORE_S

    def refresh(self) -> Plan[Session]:
        """Gets new tokens for the session, which happens by itself when they are needed.

        Raises ScoreboardError, e.g. SESSION_REVOKED: then log in again.
        """
        until = self._until(None)
        yield from _do(Alone(self._refreshed(self.session.access_token, until), self._left_s(until)))
        return self.session

    def logout(self) -> Plan[None]:
        """Ends the session at the server. Raises ScoreboardError."""
        request = auth_pb2.LogoutRequest(refresh_token=self.session.refresh_token)
        try:
            yield from self._answer(_Ask(request), auth_pb2.LogoutResponse, self._until(None))
        except ScoreboardError as error:
            if error.reason not in _ENDED:
                raise
        yield from self._end()

    def update_profile(self, username: str = "", password: str = "", new_password: str = "") -> Plan[Profile]:
        """Changes the player's name, password or both; what is left empty stays as it is.

        An account has to give its present password; a guest becomes an account by a username and a new password. A new
        password ends all other sessions. Raises ScoreboardError, e.g. USERNAME_TAKEN, BAD_CREDENTIALS.
        """
        request = auth_pb2.UpdateProfileRequest(username=username, password=password, new_password=new_password)
        ask = _Ask(request, Repeat.SETTLES, is_mine=True)
        return to_profile((yield from self._answer(ask, auth_pb2.Profile, self._until(None))))

    def delete_account(self, password: str = "") -> Plan[None]:
        """Erases the player for good: name, password, sessions, places on the boards. A guest has no password to give.

        Raises ScoreboardError, e.g. BAD_CREDENTIALS.
        """
        ask = _Ask(auth_pb2.DeleteAccountRequest(password=password), Repeat.SETTLES, is_mine=True)
        yield from self._answer(ask, auth_pb2.DeleteAccountResponse, self._until(None))
        yield from self._end()

    def nonce(self) -> str:
        """Returns a fresh nonce of the client's own, by the server's clock as the last login told it."""
        now_ms = int(self.world.unix_s() * 1000 + self._clock_ahead_ms)
        return signing.client_nonce(now_ms, self.world.random_bytes(10))

    def issue_nonces(self, action_id: str, count: int = 1) -> Plan[tuple[str, ...]]:
        """Returns nonces of the server's, 1 to 50, each good for one update of this action within 5 minutes.

        Where a deployment takes no others, or the own clock cannot be trusted, `score` asks for one by itself.
        Raises ScoreboardError, e.g. UNKNOWN_ACTION.
        """
        return (yield from self._issued(action_id, count, self._until(None)))

    def score(self, action_id: str, *, nonce: str = "", deadline_s: float | None = None) -> Plan[Update]:
        """Counts one action of the player, once, however often it has to be sent; waits until its points count.

        The answer is APPLIED, or at the deadline PENDING: accepted and durable, and `get_update` tells of it later.
        `nonce`: one that was kept with the action before (`nonce()`), or sent before without an answer. `deadline_s`:
        in place of the client's. Raises ScoreboardError, e.g. COOLDOWN, RATE_LIMITED; when it `is_unknown` whether the
        action counted, scoring again with the error's `nonce` settles it.
        """
        until = self._until(deadline_s)
        given = nonce
        while True:
            nonce = given or (yield from self._fresh_nonce(action_id, until))
            try:
                answer = yield from self._answer(self._score(action_id, nonce), score_pb2.UpdateScoreResponse, until)
                break
            except ScoreboardError as error:
                error.nonce = nonce if error.is_unknown else ""
                # Not for a given one: what became of it before is not known here.
                is_clock_refused = error.reason in _CLOCK_REFUSED and nonce.startswith("c.")
                if given or error.is_unknown or not is_clock_refused:
                    raise
                self._is_clock_refused = True
        return _accepted((yield from self._settled(to_update(answer), until)))

    def get_update(self, update_id: str) -> Plan[Update]:
        """Returns what became of an update of the player's. Raises ScoreboardError, e.g. NOT_FOUND."""
        return (yield from self._update(update_id, self._until(None)))

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

    def token(self, refused: str) -> Plan[str]:
        """Returns an access token that is not over, and not the one that was refused. Raises ScoreboardError."""
        return (yield from self._token(refused, self._until(None)))

    # What the plans share.

    def _signed_in(self, ask: _Ask) -> Plan[Session]:
        session = yield from self._answer(ask, auth_pb2.Session, self._until(None))
        yield from self._begin(session)
        return session

    def _begin(self, session: Session) -> Plan[None]:
        now_s = self.world.unix_s()
        self._session = session
        self._renew_at = now_s + session.expires_in - RENEW_BEFORE_S
        self._clock_ahead_ms = session.server_time - now_s * 1000
        self._is_clock_refused = False
        yield from _do(Keep(session))

    def _end(self) -> Plan[None]:
        self._session = None
        yield from _do(Keep(None))

    def _read(self, request: Message, reply: type[M]) -> Plan[M]:
        return (yield from self._answer(_Ask(request), reply, self._until(None)))

    def _score(self, action_id: str, nonce: str) -> _Ask:
        session = self.session
        request = score_pb2.UpdateScoreRequest(user_id=session.user_id, action_id=action_id, nonce=nonce)
        signature = signing.sign(_key(session), signing.update_payload(session.user_id, action_id, nonce))
        return _Ask(request, Repeat.SETTLES, is_mine=True, signature=signature)

    def _fresh_nonce(self, action_id: str, until: float) -> Plan[str]:
        if not self._is_clock_refused:
            return self.nonce()
        return (yield from self._issued(action_id, 1, until))[0]

    def _issued(self, action_id: str, count: int, until: float) -> Plan[tuple[str, ...]]:
        ask = _Ask(score_pb2.IssueNonceRequest(action_id=action_id, count=count), is_mine=True)
        message = yield from self._answer(ask, score_pb2.IssueNonceResponse, until)
        return tuple(message.nonces)

    def _update(self, update_id: str, until: float) -> Plan[Update]:
        ask = _Ask(score_pb2.GetUpdateRequest(update_id=update_id), is_mine=True)
        return to_update((yield from self._answer(ask, score_pb2.UpdateScoreResponse, until)))

    def _settled(self, update: Update, until: float) -> Plan[Update]:
        """Asks for the outcome while it is PENDING, until the deadline; what cannot be asked stays PENDING."""
        for asked in count():
            wait_s = poll_after_s(asked)
            if update.status is not Status.PENDING or wait_s >= self._left_s(until):
                break
            yield from _do(Sleep(wait_s))
            try:
                update = yield from self._update(update.update_id, until)
            except ScoreboardError as error:
                # Redis was lost, and the job still waits in the queue.
                if error.reason != "NOT_FOUND":
                    break
        return update

    def _token(self, refused: str, until: float) -> Plan[str]:
        if self._is_over(refused):
            yield from _do(Alone(self._renewed(refused, until), self._left_s(until)))
        return self.session.access_token

    def _renewed(self, refused: str, until: float) -> Plan[None]:
        if self._is_over(refused):  # not when another call has renewed it meanwhile
            yield from self._refreshed(self.session.access_token, until)

    def _is_over(self, refused: str) -> bool:
        return self.world.unix_s() >= self._renew_at or self.session.access_token == refused

    def _refreshed(self, before: str, until: float) -> Plan[None]:
        """Refreshes the session unless another call did since its access token was `before`."""
        session = self.session
        if session.access_token != before:
            return
        # Signed, so that a repeat after a lost answer gets the same tokens in place of a revoked session.
        signature = signing.sign(_key(session), signing.refresh_payload(session.refresh_token))
        ask = _Ask(auth_pb2.RefreshRequest(refresh_token=session.refresh_token), signature=signature)
        until = min(until, self._until(REFRESH_WITHIN_S))
        issued = yield from self._answer(ask, auth_pb2.Session, until)
        if self._session is session:  # a login or a logout that came meanwhile stands
            yield from self._begin(issued)

    def _answer(self, ask: _Ask, reply: type[M], until: float) -> Plan[M]:
        """Makes a call, again where that is safe and may help, until the deadline. Raises ScoreboardError."""
        refused, was_unknown = "", False
        for tries in count():
            try:
                token = (yield from self._token(refused, until)) if ask.is_mine else ""
                timeout_s = self._timeout_s(until)
            except ScoreboardError as error:
                error.is_unknown = was_unknown  # of this call, which was not sent now
                raise
            answer = yield Call(ask.request, ask.metadata(token), timeout_s)
            if isinstance(answer, reply):
                return answer
            assert isinstance(answer, ScoreboardError)
            may_repeat = not (answer.is_unknown and ask.repeat is Repeat.DOUBLES)
            was_unknown |= answer.is_unknown and ask.repeat is not Repeat.HARMLESS
            answer.is_unknown = was_unknown and answer.reason not in _OUTCOMES
            if answer.reason == "TOKEN_EXPIRED" and ask.is_mine and not refused:
                refused = token
                continue
            wait_s = again_after_s(answer, tries, self.world.chance()) if may_repeat else None
            if wait_s is None or wait_s >= self._left_s(until):
                raise answer
            yield from _do(Sleep(wait_s))
        raise AssertionError("count() does not end")

    def _until(self, deadline_s: float | None) -> float:
        return self.world.monotonic_s() + (self._deadline_s if deadline_s is None else deadline_s)

    def _left_s(self, until: float) -> float:
        return until - self.world.monotonic_s()

    def _timeout_s(self, until: float) -> float:
        left_s = self._left_s(until)
        if left_s <= 0:
            raise by_reason("DEADLINE_EXCEEDED", "The call's time was over before it could be sent.")
        return min(CALL_TIMEOUT_S, left_s)


def bearer(token: str) -> Metadata:
    """Returns the metadata that carries an access token; none for an empty one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def _do(step: Step) -> Generator[Step, Answer, Any]:
    """Has a step done. Raises the ScoreboardError that came of it."""
    answer = yield step
    if isinstance(answer, ScoreboardError):
        raise answer
    return answer


def _accepted(update: Update) -> Update:
    """Returns an update that counts or will. Raises what UpdateScore itself would: a refusal is an error there."""
    if update.status in (Status.APPLIED, Status.PENDING):
        return update
    if update.status is Status.PARKED:
        raise by_reason(
            "INTERNAL", "The update failed again and again; an operator decides.", update_id=update.update_id
        )
    raise by_reason(update.reason, update_id=update.update_id)


def _key(session: Session) -> bytes:
    text = session.signing_key
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
