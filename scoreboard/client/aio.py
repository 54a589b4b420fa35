"""The client for asyncio: does what scoreboard/client/plans.py and watching.py decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

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


def _async(
    plan: Callable[Concatenate[Plans, P], Plan[R]],
) -> Callable[Concatenate[Client, P], Coroutine[Any, Any, R]]:
    """Returns the client's method that carries a plan out; the plan's docstring is the method's."""

    async def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(plan(self._plans, *args, **kwargs))

    return described(method, plan)


class Client(Player):
    """A connection to a gateway and at most one session on it, for asyncio. Its calls may run side by side."""

    def _connect(self, target: str, is_encrypted: bool) -> None:
        self._channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=OPTIONS)
            if is_encrypted
            else grpc.aio.insecure_channel(target, options=OPTIONS)
        )
        self._calls = calls_of(self._channel)
        self._streams = stream_pb2_grpc.StreamServiceStub(self._channel)
        self._alone = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None  # the last one: the loop alone would let go of it
        self._open: set[Any] = set()  # streams that are being read
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and watches with it; the session lives on until `logout` or its end."""
        self._closed.set()
        for call in self._open:
            call.cancel()  # grpc.aio's channel forgets them, and who reads would wait for ever
        await self._channel.close()

    register = _async(Plans.register)
    guest = _async(Plans.guest)
    login = _async(Plans.login)
    refresh = _async(Plans.refresh)
    logout = _async(Plans.logout)
    update_profile = _async(Plans.update_profile)
    delete_account = _async(Plans.delete_account)
    score = _async(Plans.score)
    get_update = _async(Plans.get_update)
    issue_nonces = _async(Plans.issue_nonces)
    top = _async(Plans.top)
    rank = _async(Plans.rank)
    around = _async(Plans.around)
    boards = _async(Plans.boards)

    async def watch(
        self, limit: int = 10, *, board: str = "all", me: bool = False, on_state: OnState | None = None
    ) -> AsyncGenerator[Snapshot, None]:
        """Yields the top of a board at once and after each change, and connects again when the stream breaks.

        `limit`: rows, 1 to 100. `me`: with the player's own place. `on_state` is called with the error when the stream
        breaks, so that what is shown may be old from then on, and with None when it goes on. Ends when the
        client is closed. Raises ScoreboardError for what a reconnect cannot mend, e.g. UNKNOWN_BOARD, SESSION_REVOKED.
        """
        watching = Watching(limit, board, me, on_state)
        while not self._closed.is_set():
            token, error = "", None
            try:
                token = await self._run(self._plans.caller.token(watching.refused)) if me else ""
                async with aclosing(self._frames(watching.request, bearer(token))) as frames:
                    async for frame in frames:
                        if (snapshot := watching.take(frame)) is not None:
                            yield snapshot
            except ScoreboardError as e:
                error = e
            if not self._closed.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), watching.broke(error, token))

    async def _frames(
        self, request: stream_pb2.WatchLeaderboardRequest, metadata: Metadata
    ) -> AsyncGenerator[stream_pb2.LeaderboardUpdate, None]:
        """Yields one stream's frames. Raises ScoreboardError."""
        if self._closed.is_set():
            return
        call = self._streams.WatchLeaderboard(request, metadata=metadata)
        self._open.add(call)
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    frame = await call.read()
                if not isinstance(frame, stream_pb2.LeaderboardUpdate):
                    return
                yield frame
        except asyncio.CancelledError:
            if not self._is_end_of_client():
                raise
        except TimeoutError:
            raise by_reason("DEADLINE_EXCEEDED", f"The stream was silent for {SILENCE_S:.0f} s.") from None
        except grpc.RpcError as e:
            raise to_error(e) from None
        finally:
            self._open.discard(call)
            call.cancel()

    async def _run(self, plan: Plan[R]) -> R:
        answer: Answer = None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration as end:
                result: R = end.value
                return result
            try:
                answer = await self._do(step)
            except ScoreboardError as e:
                answer = e

    async def _do(self, step: Step) -> Answer:
        match step:
            case Call():
                return await self._call(step)
            case Sleep():
                await asyncio.sleep(step.seconds)
            case Keep():
                self._keep(step)
            case Alone():
                await self._run_alone(step)
        return None

    async def _call(self, step: Call) -> Message:
        if self._closed.is_set():
            raise closed()
        try:
            call = self._calls[type(step.request)]
            response: Message = await call(step.request, metadata=step.metadata, timeout=step.timeout_s)
        except grpc.RpcError as e:
            raise to_error(e) from None
        except asyncio.CancelledError:
            if not self._is_end_of_client():
                raise
            raise ScoreboardError("", "The client was closed.", grpc.StatusCode.CANCELLED) from None
        return response

    def _is_end_of_client(self) -> bool:
        """Tells whether it was `close` that cancelled a call, which ends like a task that is cancelled, and no task."""
        task = asyncio.current_task()
        return self._closed.is_set() and not (task is not None and task.cancelling())

    async def _run_alone(self, step: Alone) -> None:
        try:
            async with asyncio.timeout(step.within_s):
                await self._alone.acquire()
        except TimeoutError:
            raise by_reason("DEADLINE_EXCEEDED", "The session is being renewed for too long.") from None
        # In a task of its own: tokens that the server has spent must be replaced, though who asked is cancelled.
        work = asyncio.create_task(self._run(step.plan), name="scoreboard renewal")
        work.add_done_callback(lambda _: self._alone.release())
        self._renewal = work
        await asyncio.shield(work)
