"""Decides how one call comes to its answer: with which token, repeated when and how often, until when.

Pure, as plans.py, whose calls these are. Holds always: nothing sent after the deadline, and one refresh at a time.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import TypeVar

from google.protobuf.message import Message

from scoreboard.client.errors import ScoreboardError, by_reason
from scoreboard.client.steps import Alone, Call, Keep, Metadata, Plan, Session, Sleep, World, bearer, do
from scoreboard.client.waits import again_after_s
from scoreboard.v1 import auth_pb2, signing

CALL_TIMEOUT_S = 5.0  # the gateway's own for one try, so that it answers first
RENEW_BEFORE_S = 30.0  # of an access token's end; covers clocks that differ and slow networks
REFRESH_WITHIN_S = 50.0  # a signed refresh is safe to repeat for 60 s

#: Answers to a nonce that stand for all repeats: whoever gets one knows what became of the first try.
_OUTCOMES = frozenset({"COOLDOWN", "CAP_REACHED", "BANNED"})

M = TypeVar("M", bound=Message)


class Repeat(Enum):
    """What a repeat of a call may do."""

    HARMLESS = auto()
    """Nothing: it reads, or what it makes twice is nobody's loss."""
    SETTLES = auto()
    """It has one effect, however often it arrives, and then tells of it."""
    DOUBLES = auto()
    """Each one that arrives has an effect: sent again only when it is known that none had."""


@dataclass(frozen=True)
class Ask:
    """A call that a plan wants answered. is_mine: it needs the player's access token.

    last_token: of a call that needs none, and may be over: it tells a gateway which region the player is of.
    """

    request: Message
    repeat: Repeat = Repeat.HARMLESS
    is_mine: bool = False
    signature: str = ""
    last_token: str = ""

    def metadata(self, token: str) -> Metadata:
        """Returns what goes with it."""
        signed = (("x-signature", self.signature),) if self.signature else ()
        return (*bearer(token or self.last_token), *signed)


class Caller:
    """Makes a client's calls, and keeps what they share: the session, and what is known of the server's clock."""

    def __init__(self, deadline_s: float, world: World) -> None:
        self.world = world
        self.clock_ahead_ms = 0.0  # server's clock minus ours
        self.is_clock_refused = False  # since the last session's server time; then nonces are asked for
        self._deadline_s = deadline_s
        self._session: Session | None = None
        self._renew_at = 0.0  # unix seconds

    @property
    def session(self) -> Session:
        """The session. Raises ScoreboardError(TOKEN_MISSING) before a login."""
        if self._session is None:
            raise by_reason("TOKEN_MISSING", "Not logged in: call login, register, guest or resume first.")
        return self._session

    def resume(self, session: Session) -> None:
        """Takes a session that was kept; its access token is renewed when it is needed and over."""
        self._session = session
        self._renew_at = session.server_time / 1000 + session.expires_in - RENEW_BEFORE_S

    def begin(self, session: Session) -> Plan[None]:
        """Takes a session that the server has just given, and has it kept."""
        now_s = self.world.unix_s()
        self._session = session
        self._renew_at = now_s + session.expires_in - RENEW_BEFORE_S
        self.clock_ahead_ms = session.server_time - now_s * 1000
        self.is_clock_refused = False
        yield from do(Keep(session))

    def end(self) -> Plan[None]:
        """Forgets the session, and has it kept no longer."""
        self._session = None
        yield from do(Keep(None))

    def refresh(self) -> Plan[None]:
        """Gets new tokens for the session. Raises ScoreboardError."""
        until = self.until()
        yield from do(Alone(self._refreshed(self.session.access_token, until), self.left_s(until)))

    def token(self, refused: str, until: float | None = None) -> Plan[str]:
        """Returns an access token that is not over, and not the one that was refused. Raises ScoreboardError."""
        until = self.until() if until is None else until
        if self._is_over(refused):
            yield from do(Alone(self._renewed(refused, until), self.left_s(until)))
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
        signature = signing.sign(signing_key(session), signing.refresh_payload(session.refresh_token))
        request = auth_pb2.RefreshRequest(refresh_token=session.refresh_token)
        ask = Ask(request, signature=signature, last_token=session.access_token)
        until = min(until, self.until(REFRESH_WITHIN_S))
        issued = yield from self.answer(ask, auth_pb2.Session, until)
        if self._session is session:  # a login or a logout that came meanwhile stands
            yield from self.begin(issued)

    def answer(self, ask: Ask, reply: type[M], until: float | None = None) -> Plan[M]:
        """Makes a call, again where that is safe and may help, until the deadline. Raises ScoreboardError."""
        until = self.until() if until is None else until
        refused, was_unknown = "", False
        for tries in count():
            try:
                token = (yield from self.token(refused, until)) if ask.is_mine else ""
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
            if wait_s is None or wait_s >= self.left_s(until):
                raise answer
            yield from do(Sleep(wait_s))
        raise AssertionError("count() does not end")

    def until(self, deadline_s: float | None = None) -> float:
        """Returns the instant of a deadline, by default the client's own, as the other methods take it."""
        return self.world.monotonic_s() + (self._deadline_s if deadline_s is None else deadline_s)

    def left_s(self, until: float) -> float:
        """Returns how many seconds are left until then; below 0 for none."""
        return until - self.world.monotonic_s()

    def _timeout_s(self, until: float) -> float:
        left_s = self.left_s(until)
        if left_s <= 0:
            raise by_reason("DEADLINE_EXCEEDED", "The call's time was over before it could be sent.")
        return min(CALL_TIMEOUT_S, left_s)


def signing_key(session: Session) -> bytes:
    """Returns the key that signs what the player sends."""
    text = session.signing_key
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
