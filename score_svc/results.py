"""Brings each waiting call the result of its update: by direct reply, or from the ledger where a reply was lost.

Holds always: a call is answered by its deadline (to about a tick), one query heals all who have waited, and an
update that was not confirmed is never told as accepted.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from google.protobuf.message import DecodeError

from board.job_pb2 import Result, Results
from mesh.refusal import Refused
from mesh.tasks import end
from score_svc import figures
from score_svc.ledger import LedgerAway, Row

log = logging.getLogger(__name__)

HEAL_AFTER_S = 0.25  # a reply takes a few hundredths of a second; later it is slow, or lost
HEAL_BACKOFF = 2.0
TICK_S = 0.05


@dataclass(slots=True, eq=False)
class OnWay:
    """An update between acceptance and result, with the calls that wait for it."""

    update_id: UUID
    #: The broker has it safe.
    is_confirmed: bool = False
    #: How it ended; whoever asks afterwards is told at once.
    result: Result | None = None
    refused: Refused | None = None
    heal_at: float = 0.0  # monotonic
    heal_pause_s: float = HEAL_AFTER_S
    #: (deadline as monotonic seconds, the call's future): the result, or None when the deadline came first.
    waiters: list[tuple[float, "asyncio.Future[Result | None]"]] = field(default_factory=list)


class ResultDesk:
    """Knows who waits for which update. `ask_ledger` reads rows by key, `settle` keeps results for later retries."""

    def __init__(
        self,
        ask_ledger: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Row]]],
        settle: Callable[[Sequence[Result]], None],
    ) -> None:
        self._ask_ledger = ask_ledger
        self._settle = settle
        self._loop = asyncio.get_running_loop()  # to ask for it again costs a system call each time, before Python 3.12
        self._on_way: dict[bytes, OnWay] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._healer: asyncio.Task[None] | None = None
        figures.ON_WAY.read(lambda: len(self._on_way))

    def start(self) -> None:
        """Begins to watch deadlines, until `close`."""
        self._ticker = asyncio.create_task(self._tick(), name="results")

    async def close(self) -> None:
        """Stops watching."""
        await end(*(task for task in (self._ticker, self._healer) if task))

    @property
    def count(self) -> int:
        """How many updates are on their way."""
        return len(self._on_way)

    def find(self, update_id: UUID) -> OnWay | None:
        """Returns the update if it is on its way from this process, so that a repeat can join."""
        return self._on_way.get(update_id.bytes)

    def open(self, update_id: UUID) -> OnWay:
        """Takes note of an update that is about to be published."""
        on_way = OnWay(update_id, heal_at=time.monotonic() + HEAL_AFTER_S)
        self._on_way[update_id.bytes] = on_way
        return on_way

    def wait(self, on_way: OnWay, deadline: float) -> "asyncio.Future[Result | None]":
        """Returns what becomes the result, None at the deadline, or a Refused when the update was not taken."""
        future: asyncio.Future[Result | None] = self._loop.create_future()
        if on_way.result is not None:
            future.set_result(on_way.result)
        elif on_way.refused is not None:
            future.set_exception(on_way.refused)
        else:
            on_way.waiters.append((deadline, future))
        return future

    def on_reply(self, body: bytes) -> None:
        """Takes a worker's direct reply."""
        try:
            results = Results.FromString(body).results
        except DecodeError:
            log.error("A reply could not be read", extra={"event": "reply_unreadable"})
            return
        self._resolve(results)
        self._settle(results)

    def fail(self, on_way: OnWay, refused: Refused) -> None:
        """Tells all who wait that the update was not taken; a result that came all the same has won."""
        if self._on_way.get(on_way.update_id.bytes) is on_way:
            del self._on_way[on_way.update_id.bytes]
        on_way.refused = refused
        for _, future in on_way.waiters:
            if not future.done():
                future.set_exception(refused)
                future.exception()  # its call may have left
        on_way.waiters.clear()

    def _resolve(self, results: Sequence[Result]) -> None:
        for result in results:
            on_way = self._on_way.pop(result.update_id, None)
            if on_way is None:
                continue
            on_way.result = result
            for _, future in on_way.waiters:
                if not future.done():
                    future.set_result(result)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            silent = []
            for on_way in list(self._on_way.values()):
                self._end_waits(on_way, now)
                if on_way.waiters and on_way.heal_at <= now:
                    silent.append(on_way)
            if silent and (self._healer is None or self._healer.done()):
                self._healer = asyncio.create_task(self._heal(silent, now), name="heal results")

    def _end_waits(self, on_way: OnWay, now: float) -> None:
        still = []
        for deadline, future in on_way.waiters:
            if future.done():
                continue
            if deadline <= now:
                future.set_result(None)
            else:
                still.append((deadline, future))
        on_way.waiters = still
        if not still:
            self._on_way.pop(on_way.update_id.bytes, None)

    async def _heal(self, silent: Sequence[OnWay], now: float) -> None:
        for on_way in silent:
            on_way.heal_pause_s *= HEAL_BACKOFF
            on_way.heal_at = now + on_way.heal_pause_s
        with contextlib.suppress(LedgerAway):  # asked again after the pause
            rows = await self._ask_ledger([on_way.update_id for on_way in silent])
            results = [row.result for row in rows.values()]
            figures.HEALED.inc(len(results))
            self._resolve(results)
            self._settle(results)
