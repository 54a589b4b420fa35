"""One fault test: its load on the world, and the invariant (PROMISES.md: INV) that is checked at its end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from board.verify import Difference, verify
from tests.fault import checker
from tests.fault.checker import Told, Verdict
from tests.fault.load import Load
from tests.fault.world import World
from tests.sizes import BUSY, sized
from tests.waiting import SCALE, eventually

SETTLED_S = 5.0 * BUSY  # PROMISES: all at most so long after the load stops
FLOWS_S = 5.0 * BUSY  # and work flows again so long after what it waited for came back
SHOWN_MAX = 20  # ids or differences of a kind
ANSWER_S = sized(4.0, 3.0)  # the service's own timer says 2; shorter than any freeze that it must notice


class Trial:
    """What a test has: the `world`, the `load`, and `holds()` for the end."""

    def __init__(self, world: World, record: Callable[[str, object], None]) -> None:
        self.world = world
        self.load = Load(world)
        self._record = record
        self._differences: tuple[Difference, ...] = ()
        self._started_s = time.time()

    async def holds(self, *, dead: int = 0, may_fail: bool = False, settled_s: float = SETTLED_S) -> Verdict:
        """Check INV, at most `settled_s` after the load stopped; return the verdict.

        First without any help of a client: the queues run empty, what was told as accepted is found, and Redis shows
        it. Then what is UNKNOWN is sent again, until it is known. dead: how many dead letters the test means to have.
        may_fail: whether it means to have updates refused before they are queued.
        """
        note = self.world.timeline.note
        told = {told.value: count for told, count in self.load.told.items()}
        note(f"load stopped: {len(self.load.sent)} updates, {told}, {self.load.reasons}")
        assert may_fail or not self.load.told[Told.FAILED], f"updates were refused: {self.load.reasons}"
        await self._in_time(self._is_settled, settled_s, "empty queues, every accepted update in the ledger and shown")
        await self.load.resolve()
        await self._in_time(self._no_offences, settled_s, "INV")
        verdict = await self._verdict()
        self._tell(verdict)
        assert len(verdict.dead) == dead, f"{len(verdict.dead)} dead letters instead of {dead}"
        note(f"INV holds: {verdict}")
        return verdict

    async def _in_time(self, condition: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
        started = time.monotonic()
        try:
            await eventually(condition, timeout_s, what)
        except AssertionError:
            verdict = await self._verdict()
            self._tell(verdict, len(self._differences))
            self.world.timeline.note(f"{verdict}; waiting: {await self.world.queued()}")
            for name, ids in verdict.offences.items():
                self.world.timeline.note(f"{name}: {', '.join(map(str, ids[:SHOWN_MAX]))}")
            for difference in self._differences[:SHOWN_MAX]:
                self.world.timeline.note(str(difference))
            raise
        self.world.timeline.note(f"{time.monotonic() - started:.2f} s: {what}")

    async def _verdict(self) -> Verdict:
        found = await checker.find(self.world.pool, self.load.sent.values(), since_s=self._started_s)
        return checker.classify(self.load.sent, found)

    async def _is_settled(self) -> bool:
        is_queue_empty = sum((await self.world.queued()).values()) == 0
        return is_queue_empty and not (await self._verdict()).lost and await self._agrees()

    async def _no_offences(self) -> bool:
        return not (await self._verdict()).offences and await self._agrees()

    async def _agrees(self) -> bool:
        """Whether ledger, entries, scores and Redis are equal; the last differences are kept."""
        self._differences = (await verify(self.world.pool, self.world.view)).differences
        return self._differences == ()

    async def flows(self, timeout_s: float = FLOWS_S) -> None:
        """Wait until the load beside has an update applied that was answered from now on."""
        since = time.monotonic()

        def is_applied() -> bool:
            return any(answer.applied for answer in self.load.since(since))

        try:
            await eventually(is_applied, timeout_s, "an applied update")
        finally:
            self.world.timeline.note(f"waited {time.monotonic() - since:.2f} s for an applied update")

    def answered_in_time(self) -> None:
        """Check that every call was answered within ANSWER_S, and none by an error of the service's own."""
        slow = [answer for answer in self.load.answers if answer.took_s > ANSWER_S * SCALE]
        assert not slow, f"{len(slow)} calls took up to {self.load.slowest_s:.2f} s"
        assert not [answer for answer in self.load.answers if answer.reason == "INTERNAL"]

    def _tell(self, verdict: Verdict, differences: int = 0) -> None:
        self._record("updates", len(self.load.sent))
        self._record("lost", len(verdict.lost))
        # Which way a sum is wrong, nobody need know: an increment too many is among what differs.
        self._record("doubled", verdict.doubled_count + differences)
