"""Who watches which board: starts reading a board for its first watcher and stops after its last.

Holds always: there is one topic a board, whatever the number of watchers, and at most `watchers_max` watchers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from board.catalogue_cache import CatalogueCache
from board.reading import BoardReading
from mesh.reasons import Reason
from mesh.refusal import Refused
from stream_svc import figures
from stream_svc.endings import RESTART, Ending
from stream_svc.topic import Topic
from stream_svc.watcher import Watcher

log = logging.getLogger(__name__)

BEATS = 10  # looks for silent streams so many times in a heartbeat's interval


class Hub:
    """All topics and all watchers of the process."""

    def __init__(
        self,
        catalogue: CatalogueCache,
        reading: BoardReading,
        *,
        clock: Callable[[], datetime],
        watchers_max: int,
        heartbeat_s: float,
    ) -> None:
        self._catalogue = catalogue
        self._reading = reading
        self._clock = clock
        self._watchers_max = watchers_max
        self._heartbeat_s = heartbeat_s
        self._topics: dict[str, Topic] = {}
        self._count = 0
        self._ending: Ending | None = None
        self._closing: set[asyncio.Task[None]] = set()
        figures.WATCHERS.read(lambda: self._count)

    @property
    def watchers(self) -> list[Watcher]:
        """Everyone who watches."""
        return [watcher for topic in self._topics.values() for watcher in topic.watchers]

    def check_room(self) -> None:
        """Raises Refused: QUEUE_FULL past the bound on watchers, SERVICE_AWAY while the process ends."""
        if self._ending is not None:
            raise self._ending.refused()
        if self._count >= self._watchers_max:
            raise Refused(Reason.QUEUE_FULL, "Too many streams are open here; try again.", retry_after_s=1)

    @asynccontextmanager
    async def watching(self, watcher: Watcher) -> AsyncIterator[None]:
        """Watches while the context lasts; raises as `join`."""
        try:
            await self.join(watcher)
            yield
        finally:
            self.leave(watcher)

    async def join(self, watcher: Watcher) -> None:
        """Puts the board into the watcher's slot, now and at each change; `leave` must follow, after a refusal too.

        Raises Refused: UNKNOWN_BOARD, LEADERBOARD_UNAVAILABLE (the watcher is in all the same, and gets the board when
        it can be read), or as `check_room`.
        """
        self.check_room()
        if await self._catalogue.board(watcher.board) is None:
            if not self._catalogue.is_loaded:
                raise Refused(
                    Reason.LEADERBOARD_UNAVAILABLE, "Boards cannot be read right now; try again.", retry_after_s=1
                )
            raise Refused(Reason.UNKNOWN_BOARD, f"There is no board {watcher.board}.", board=watcher.board)
        self.check_room()
        topic = self._topics.get(watcher.board) or self._open(watcher.board)
        topic.watchers.add(watcher)
        self._count += 1
        snapshot = await topic.current()
        if watcher.wants_place(snapshot) and watcher.identity is not None:
            watcher.offer_me(await topic.place(watcher.identity.subject))
        # Read again: the wait above may have seen a newer one, which must not be followed by an older.
        watcher.offer(await topic.current())

    def is_watching(self, watcher: Watcher) -> bool:
        """Whether the watcher is in."""
        topic = self._topics.get(watcher.board)
        return topic is not None and watcher in topic.watchers

    def leave(self, watcher: Watcher) -> None:
        """Stops watching; may be called twice."""
        topic = self._topics.get(watcher.board)
        if topic is None or watcher not in topic.watchers:
            return
        topic.watchers.remove(watcher)
        self._count -= 1
        if not topic.watchers:
            del self._topics[watcher.board]
            task = asyncio.create_task(topic.close(), name=f"close {topic.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def want_place(self, watcher: Watcher) -> None:
        """Asks for the watcher's own place, whose identity has just come."""
        if topic := self._topics.get(watcher.board):
            topic.want_places()

    def hint(self, tag: str, version: int, traces: Sequence[str] = ()) -> None:
        """A feed says that the board of that tag has reached a version. traces: of sampled updates behind it."""
        figures.HINTS.inc()
        for topic in self._topics.values():
            key, snapshot = topic.key, topic.snapshot
            if key is None or key.tag == tag:
                is_shown = key is not None and snapshot is not None and snapshot.version >= version
                topic.traces.add(traces, is_shown=is_shown)
                if not is_shown:
                    topic.touch()

    def hint_all(self) -> None:
        """Hints may have been lost: any board may have changed."""
        for topic in self._topics.values():
            topic.touch()

    async def keep_beating(self) -> None:
        """Gives heartbeats to those that were sent nothing for a while; never returns."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._heartbeat_s / BEATS)
            for watcher in self.watchers:
                watcher.beat(loop.time(), self._heartbeat_s)

    def drain(self) -> None:
        """Ends every stream, each with the advice to reconnect, and takes no more."""
        self._ending = RESTART
        for watcher in self.watchers:
            watcher.end(RESTART)

    async def close(self) -> None:
        """Stops reading boards."""
        topics, self._topics = list(self._topics.values()), {}
        await asyncio.gather(*(topic.close() for topic in topics), *self._closing)

    def _open(self, name: str) -> Topic:
        topic = Topic(name, lambda: self._catalogue.current.boards.get(name), self._reading, self._clock)
        self._topics[name] = topic
        return topic
