"""Follows the hints of the worker: `sb:feed` carries "tag epoch sequence" of each board that changed.

Hints only make a change seen sooner. Holds always: whenever hints may have been lost, everything counts as changed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from board import keys
from board.version import shown_version
from stream_svc import figures

log = logging.getLogger(__name__)

Hint = Callable[[str, int, Sequence[str]], None]

LISTEN_S = 1.0
SILENCE_MAX_S = 3.0  # a ping goes out each LISTEN_S; a frozen server or a dead link answers none
RETRY_S = 0.2


async def follow(redis: "Redis", hint: Hint, lost: Callable[[], None]) -> None:
    """Calls `hint(tag, version, traces)` for each hint and `lost()` after each (re)connection; never returns."""
    is_away = False
    while True:
        with contextlib.suppress(RedisError, OSError):
            async with redis.pubsub() as feed:
                await feed.subscribe(keys.FEED)
                lost()
                if is_away:
                    log.info("The feed is back", extra={"event": "feed_back"})
                is_away = False
                figures.FEED_CONNECTED.value = 1
                await _listen(feed, hint)
        figures.FEED_CONNECTED.value = 0
        if not is_away:
            log.warning("The feed is away; boards are read each second", extra={"event": "feed_away"})
        is_away = True
        await asyncio.sleep(RETRY_S)


async def _listen(feed: PubSub, hint: Hint) -> None:
    loop = asyncio.get_running_loop()
    heard_at = loop.time()
    while loop.time() - heard_at < SILENCE_MAX_S:
        message = await feed.get_message(timeout=LISTEN_S)
        if message is None:
            await feed.ping()
            continue
        heard_at = loop.time()
        if message["type"] == "message":
            parsed = parse_hint(message["data"])
            if parsed is not None:
                hint(*parsed)


def parse_hint(data: bytes) -> tuple[str, int, list[str]] | None:
    """Returns tag, shown version and trace contexts of a hint; None for anything else."""
    parts = data.split(b" ")
    if len(parts) < 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    traces = [part.decode(errors="replace") for part in parts[3:]]
    return parts[0].decode(errors="replace"), shown_version(int(parts[1]), int(parts[2])), traces
