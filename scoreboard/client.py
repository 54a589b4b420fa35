"""The Python client: signs in, sends updates that count once, reads and watches boards.

    async with Client("127.0.0.1:8080") as client:
        await client.login("ada", "correct horse battery staple")
        update = await client.update("win-round")
        async for frame in client.watch(limit=3):
            print([(row.username, row.score) for row in frame.leaderboard])

It keeps one session: access tokens are renewed before they end, by signed refreshes. A call that met UNAVAILABLE is
repeated, an update with the same nonce: whatever happened to the first try, it counts once.
"""

import asyncio
import base64
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

import grpc
import stamina
from google.rpc import error_details_pb2, status_pb2

from scoreboard.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    leaderboard_pb2,
    leaderboard_pb2_grpc,
    score_pb2,
    score_pb2_grpc,
    signing,
    stream_pb2,
    stream_pb2_grpc,
)

CALL_TIMEOUT_S = 5.0  # the gateway's own for updates, so that it answers first
TRIES = 4
RENEW_BEFORE_S = 30.0  # of an access token's end; covers clocks that differ and slow networks
RECONNECT_WITHIN_S = 1.0  # at random, so that the watchers of a service that restarts do not come all at once

R = TypeVar("R")


class ScoreboardError(Exception):
    """A call that the server turned down, or could not take.

    `reason` is a name of scoreboard.v1.ErrorReason without its prefix (empty when the server did not get to say one),
    `code` the gRPC code, `retry_after_s` seconds where a retry helps after a while.
    """

    def __init__(
        self, reason: str, message: str, code: grpc.StatusCode, retry_after_s: float | None, metadata: dict[str, str]
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s
        self.metadata = metadata

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"


class Client:
    """One connection to a gateway, and at most one session on it. Not for use by several players at once."""

    def __init__(self, target: str = "127.0.0.1:8080", *, tls: bool = False) -> None:
        """`target` is HOST:PORT of the gateway; `tls` encrypts, with the system's certificates."""
        self._channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials())
            if tls
            else grpc.aio.insecure_channel(target)
        )
        self._auth = auth_pb2_grpc.AuthServiceStub(self._channel)
        self._scores = score_pb2_grpc.ScoreServiceStub(self._channel)
        self._boards = leaderboard_pb2_grpc.LeaderboardServiceStub(self._channel)
        self._streams = stream_pb2_grpc.StreamServiceStub(self._channel)
        self._session: auth_pb2.Session | None = None
        self._renew_at = 0.0  # time.time(), which goes on while a machine sleeps
        self._renewing = asyncio.Lock()
        self._clock_ahead_ms = 0.0  # server's clock minus ours

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection; the session lives on at the server until `logout` or its end."""
        await self._channel.close()

    @property
    def session(self) -> auth_pb2.Session:
        """The session, to be kept (it is a secret) and given to `resume`. Raises RuntimeError before a login."""
        if self._session is None:
            raise RuntimeError("not logged in: call login, register or resume first")
        return self._session

    @property
    def user_id(self) -> str:
        """The player's public id."""
        return self.session.user_id

    async def register(self, username: str, password: str) -> auth_pb2.Session:
        """Creates an account and logs in. Raises ScoreboardError, e.g. USERNAME_TAKEN."""
        request = auth_pb2.RegisterRequest(username=username, password=password)
        # Not repeated by itself: a lost answer would come back as USERNAME_TAKEN.
        return self._begin(await _once(self._auth.Register(request, timeout=CALL_TIMEOUT_S)))

    async def login(self, username: str, password: str) -> auth_pb2.Session:
        """Starts a session. Raises ScoreboardError, e.g. BAD_CREDENTIALS."""
        request = auth_pb2.LoginRequest(username=username, password=password)
        return self._begin(await _repeat(lambda: self._auth.Login(request, timeout=CALL_TIMEOUT_S)))

    def resume(self, session: auth_pb2.Session) -> auth_pb2.Session:
        """Takes a session that was kept; its access token is renewed when it is needed and over."""
        self._session = session
        self._renew_at = session.server_time / 1000 + session.expires_in - RENEW_BEFORE_S
        return session

    def _begin(self, session: auth_pb2.Session) -> auth_pb2.Session:
        self._clock_ahead_ms = session.server_time - time.time() * 1000
        self._session = session
        self._renew_at = time.time() + session.expires_in - RENEW_BEFORE_S
        return session

    async def refresh(self) -> auth_pb2.Session:
        """Gets new tokens for the session. Raises ScoreboardError, e.g. SESSION_REVOKED: then log in again."""
        token = self.session.refresh_token
        # Signed, so that a repeat after a lost answer gets the same tokens in place of a revoked session.
        signature = signing.sign(self._signing_key(), signing.refresh_payload(token))
        request, metadata = auth_pb2.RefreshRequest(refresh_token=token), (("x-signature", signature),)
        return self._begin(
            await _repeat(lambda: self._auth.Refresh(request, metadata=metadata, timeout=CALL_TIMEOUT_S))
        )

    async def logout(self) -> None:
        """Ends the session at the server. Raises ScoreboardError."""
        request = auth_pb2.LogoutRequest(refresh_token=self.session.refresh_token)
        await _repeat(lambda: self._auth.Logout(request, timeout=CALL_TIMEOUT_S))
        self._session = None

    def nonce(self) -> str:
        """Returns a fresh nonce; keep it with the action until its outcome is known, and repeat with it."""
        return signing.client_nonce(int(time.time() * 1000 + self._clock_ahead_ms), os.urandom(10))

    async def update(self, action_id: str, *, nonce: str | None = None) -> score_pb2.UpdateScoreResponse:
        """Counts one action of the player, once, however often it is sent.

        Raises ScoreboardError: with UNAVAILABLE or DEADLINE_EXCEEDED it is unknown whether it counted, and the same
        nonce settles it.
        """
        session = await self._fresh_session()
        nonce = nonce or self.nonce()
        request = score_pb2.UpdateScoreRequest(user_id=session.user_id, action_id=action_id, nonce=nonce)
        payload = signing.update_payload(session.user_id, action_id, nonce)
        metadata = (*_bearer(session), ("x-signature", signing.sign(self._signing_key(), payload)))
        return await _repeat(lambda: self._scores.UpdateScore(request, metadata=metadata, timeout=CALL_TIMEOUT_S))

    async def get_update(self, update_id: str) -> score_pb2.UpdateScoreResponse:
        """Returns the outcome of an update of the player's. Raises ScoreboardError, e.g. NOT_FOUND."""
        metadata = _bearer(await self._fresh_session())
        request = score_pb2.GetUpdateRequest(update_id=update_id)
        return await _repeat(lambda: self._scores.GetUpdate(request, metadata=metadata, timeout=CALL_TIMEOUT_S))

    async def top(
        self, limit: int = 10, *, offset: int = 0, board: str = "all", period: str = ""
    ) -> leaderboard_pb2.GetLeaderboardResponse:
        """Returns the top of a board. Raises ScoreboardError, e.g. UNKNOWN_BOARD."""
        request = leaderboard_pb2.GetLeaderboardRequest(limit=limit, offset=offset, board=board, period=period)
        return await _repeat(lambda: self._boards.GetLeaderboard(request, timeout=CALL_TIMEOUT_S))

    async def rank(
        self, user_id: str | None = None, *, board: str = "all", period: str = ""
    ) -> leaderboard_pb2.GetRankResponse:
        """Returns a player's place, one's own by default. Raises ScoreboardError, e.g. UNKNOWN_USER."""
        request = leaderboard_pb2.GetRankRequest(user_id=user_id or self.user_id, board=board, period=period)
        return await _repeat(lambda: self._boards.GetRank(request, timeout=CALL_TIMEOUT_S))

    async def watch(self, limit: int = 10, *, board: str = "all") -> AsyncGenerator[stream_pb2.LeaderboardUpdate, None]:
        """Yields the board at once and after each change, reconnecting when the stream breaks.

        Heartbeats are left out. Raises ScoreboardError for what a reconnect cannot mend, e.g. UNKNOWN_BOARD.
        """
        request = stream_pb2.WatchLeaderboardRequest(board=board, limit=limit)
        while True:
            async for attempt in stamina.retry_context(on=_is_passing, attempts=None, timeout=None, wait_max=5.0):
                with attempt:
                    async with aclosing(self._frames(request)) as frames:
                        async for frame in frames:
                            request.version = frame.version  # a reconnect gets nothing that is shown already
                            if not frame.heartbeat:
                                yield frame
            # A stream that had worked: the waits begin anew.
            await asyncio.sleep(random.uniform(0, RECONNECT_WITHIN_S))  # noqa: S311 -- no secret

    async def _frames(
        self, request: stream_pb2.WatchLeaderboardRequest
    ) -> AsyncGenerator[stream_pb2.LeaderboardUpdate, None]:
        """Yields one stream's frames. Raises ScoreboardError, but ends when a stream that had worked breaks."""
        has_worked = False
        try:
            async for frame in self._streams.WatchLeaderboard(request):
                has_worked = True
                yield frame
        except grpc.aio.AioRpcError as e:
            error = to_error(e)
            # Without a reason the way broke, not the call: the gateway resets a stream whose service died (INTERNAL).
            if not (has_worked and (_is_passing(error) or error.reason in ("", "SLOW_CONSUMER"))):
                raise error from None

    async def _fresh_session(self) -> auth_pb2.Session:
        async with self._renewing:
            if self.session and time.time() >= self._renew_at:
                await self.refresh()
            return self.session

    def _signing_key(self) -> bytes:
        text = self.session.signing_key
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def to_error(error: grpc.aio.AioRpcError) -> ScoreboardError:
    """Returns what a gRPC error says, with reason and delay from its details (google.rpc.ErrorInfo, RetryInfo)."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    trailers = error.trailing_metadata() or ()
    details = next((value for key, value in trailers if key == "grpc-status-details-bin"), b"")
    for detail in status_pb2.Status.FromString(details if isinstance(details, bytes) else b"").details:
        detail.Unpack(info)
        detail.Unpack(retry)
    delay_s = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    if delay_s is None:  # the gateway's own refusals say it in HTTP's header
        delay_s = next((float(value) for key, value in trailers if key == "retry-after"), None)
    return ScoreboardError(info.reason, error.details() or "", error.code(), delay_s, dict(info.metadata))


def _bearer(session: auth_pb2.Session) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {session.access_token}"),)


def _is_passing(error: Exception) -> bool:
    # Only UNAVAILABLE is repeated by itself (AIP-194); every call that goes through here is safe to repeat.
    return isinstance(error, ScoreboardError) and error.code is grpc.StatusCode.UNAVAILABLE


async def _once(call: Awaitable[R]) -> R:
    try:
        return await call
    except grpc.aio.AioRpcError as e:
        raise to_error(e) from None


async def _repeat(make_call: Callable[[], Awaitable[R]]) -> R:
    async for attempt in stamina.retry_context(on=_is_passing, attempts=TRIES, timeout=None, wait_initial=0.1):
        with attempt:
            return await _once(make_call())
    raise AssertionError("retry_context ends by a return or an exception")
