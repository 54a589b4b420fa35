"""The client for programs without asyncio: does what scoreboard/client/plans.py and watching.py decide."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import grpc
from google.protobuf.message import Message

from scoreboard.client.answers import Snapshot
from scoreboard.client.connection import OPTIONS, calls_of
from scoreboard.client.errors import ScoreboardError, by_reason, closed, to_error
from scoreboard.client.plans import Plans
from scoreboard.client.player import Player, described
from scoreboard.client.steps import Alone, Answer, Call, Keep, Metadata, Plan, Sleep, Step, bearer
from scoreboard.client.watching import SILENCE_S, OnState, Watching
from scoreboard.v1 import stream_pb2, stream_pb2_grpc

P = ParamSpec("P")
R = TypeVar("R")

LOOK_EVERY_S = 1.0


def _sync(plan: Callable[Concatenate[Plans, P], Plan[R]]) -> Callable[Concatenate[SyncClient, P], R]:
    """Returns the client's method that carries a plan out; the plan's docstring is the method's."""

    def method(self: SyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(plan(self._plans, *args, **kwargs))

    return described(method, plan)


class _Watchdog:
    """Cancels a stream that leaves its reader waiting for too long: a blocking read has no timeout of its own."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._waits_since: float | None = None  # monotonic seconds; written by the reader only
        self._is_over = threading.Event()
        threading.Thread(target=self._look, name="scoreboard watchdog", daemon=True).start()

    def __enter__(self) -> None:
        self._waits_since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waits_since = None

    def end(self) -> None:
        """Lets the stream be."""
        self._is_over.set()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_EVERY_S):
            since = self._waits_since
            if since is not None and time.monotonic() - since > SILENCE_S:
                self._cancel()
                return


class SyncClient(Player):
    """A connection to a gateway and at most one session on it. Threads may share it."""

    def _connect(self, target: str, is_encrypted: bool) -> None:
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=OPTIONS)
            if is_encrypted
            else grpc.insecure_channel(target, options=OPTIONS)
        )
        self._calls = calls_of(self._channel)
        self._streams = stream_pb2_grpc.StreamServiceStub(self._channel)
        self._alone = threading.Lock()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and watches with it; the session lives on until `logout` or its end."""
        self._closed.set()
        self._channel.close()

    register = _sync(Plans.register)
    guest = _sync(Plans.guest)
    login = _sync(Plans.login)
    refresh = _sync(Plans.refresh)
    logout = _sync(Plans.logout)
    update_profile = _sync(Plans.update_profile)
    delete_account = _sync(Plans.delete_account)
    score = _sync(Plans.score)
    get_update = _sync(Plans.get_update)
    issue_nonces = _sync(Plans.issue_nonces)
    top = _sync(Plans.top)
    rank = _sync(Plans.rank)
    around = _sync(Plans.around)
    boards = _sync(Plans.boards)

    def watch(
        self, limit: int = 10, *, board: str = "all", me: bool = False, on_state: OnState | None = None
    ) -> Generator[Snapshot, None, None]:
        """Yields what Client.watch yields, and takes and raises the same; another thread may close the client."""
        watching = Watching(limit, board, me, on_state)
        while not self._closed.is_set():
            token, error = "", None
            try:
                token = self._run(self._plans.caller.token(watching.refused)) if me else ""
                with closing(self._frames(watching.request, bearer(token))) as frames:
                    for frame in frames:
                        if (snapshot := watching.take(frame)) is not None:
                            yield snapshot
            except ScoreboardError as e:
                error = e
            if not self._closed.is_set():
                self._closed.wait(watching.broke(error, token))

    def _frames(
        self, request: stream_pb2.WatchLeaderboardRequest, metadata: Metadata
    ) -> Generator[stream_pb2.LeaderboardUpdate, None, None]:
        """Yields one stream's frames. Raises ScoreboardError."""
        try:
            call = self._streams.WatchLeaderboard(request, metadata=metadata)
        except ValueError:  # of a channel that another thread has closed
            return
        watchdog = _Watchdog(call.cancel)
        try:
            while True:
                with watchdog:
                    frame = next(call, None)
                if frame is None:
                    return
                yield frame
        except grpc.RpcError as e:
            raise to_error(e) from None
        finally:
            watchdog.end()
            call.cancel()

    def _run(self, plan: Plan[R]) -> R:
        answer: Answer = None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration as end:
                result: R = end.value
                return result
            try:
                answer = self._do(step)
            except ScoreboardError as e:
                answer = e

    def _do(self, step: Step) -> Answer:
        match step:
            case Call():
                return self._call(step)
            case Sleep():
                self._closed.wait(step.seconds)
            case Keep():
                self._keep(step)
            case Alone():
                if not self._alone.acquire(timeout=max(0.0, step.within_s)):
                    raise by_reason("DEADLINE_EXCEEDED", "The session is being renewed for too long.")
                try:
                    self._run(step.plan)
                finally:
                    self._alone.release()
        return None

    def _call(self, step: Call) -> Message:
        try:
            call = self._calls[type(step.request)]
            response: Message = call(step.request, metadata=step.metadata, timeout=step.timeout_s)
        except grpc.RpcError as e:
            raise to_error(e) from None
        except ValueError:
            if not self._closed.is_set():
                raise
            raise closed() from None
        return response
