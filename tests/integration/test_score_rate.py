"""At most 10 updates of a player in any 60 s, whichever score_svc he asks, while Redis is well."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from board import keys
from score_svc.accept import Acceptor, Asked
from score_svc.retry import Claim
from scoreboard.client import ScoreboardError
from scoreboard.v1 import score_pb2 as pb
from tests.scoring import Player, Scoring, module_world, new_nonce
from tests.servers import RedisServer
from tests.sizes import Record, sized

LIMIT = 10
WINDOW_S = 60.0
# In `make test` the window is moved back in Redis until so much of it is left; in `make soak` it passes as it is.
EDGE_S = sized(1.5, WINDOW_S)
EDGES = 1
BURST_EVERY_S = 0.1
BURST = 4  # updates of a player at each service at once


world = module_world()


class Pusher:
    """Players who send more than they may, to two services at once, and repeat what was taken."""

    def __init__(self, world: Scoring, players: Sequence[Player], stubs: Sequence[Any]) -> None:
        self._world = world
        self._players = players
        self._stubs = stubs
        self.taken: list[tuple[Player, str]] = []
        self.refusals: list[ScoreboardError] = []
        self.retries = 0

    async def push(self, for_s: float) -> None:
        """Sends bursts for so long, and one afterwards."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            await self._burst()
            await asyncio.sleep(BURST_EVERY_S)
        await self._burst()

    async def _burst(self) -> None:
        sends = [self._send(player, stub) for player in self._players for stub in self._stubs for _ in range(BURST)]
        await asyncio.gather(*sends, self._retry())

    async def _send(self, player: Player, stub: Any) -> None:
        nonce = new_nonce()
        try:
            await self._world.update(player, nonce=nonce, stub=stub)
        except ScoreboardError as error:
            self.refusals.append(error)
        else:
            self.taken.append((player, nonce))

    async def _retry(self) -> None:
        if self.taken:
            player, nonce = random.choice(self.taken)
            answer = await self._world.update(player, nonce=nonce, stub=random.choice(self._stubs))
            assert answer.status in (pb.APPLIED, pb.PENDING)
            self.retries += 1


async def _age(world: Scoring, player: Player, by_s: float) -> None:
    """Makes a player's window in Redis look so much older."""
    window = keys.rate(player.user_id)
    taken: Any = await world.bench.redis.zrange(window, 0, -1, withscores=True)
    await world.bench.redis.zadd(window, {member: at - by_s * 1e6 for member, at in taken})


@pytest.mark.promise(row=31)
@pytest.mark.timeout(180 + EDGES * EDGE_S)
async def test_no_60_seconds_hold_more_than_10_updates_of_a_player(world: Scoring, record_property: Record) -> None:
    players, other = [await world.player() for _ in range(2)], await world.player()
    moved_s = WINDOW_S - EDGE_S
    moved_at: list[float] = []  # unix seconds: what was accepted before counts as older by moved_s, each time
    async with world.service(updates_per_minute=LIMIT) as one, world.service(updates_per_minute=LIMIT) as two:
        pusher = Pusher(world, players, [one, two])
        await pusher.push(0.5)
        assert len(pusher.taken) == LIMIT * len(players)
        for edge in range(EDGES):
            if moved_s:
                for player in players:
                    await _age(world, player, moved_s)
                moved_at.append(time.time())
            others = [world.update(other, stub=random.choice([one, two])) for _ in range(LIMIT // EDGES)]
            answers, _ = await asyncio.gather(asyncio.gather(*others), pusher.push(EDGE_S + 1.0))
            assert {answer.status for answer in answers} == {pb.APPLIED}
            assert len(pusher.taken) == (edge + 2) * LIMIT * len(players), "a window that is over makes room"
    assert {error.reason for error in pusher.refusals} == {"RATE_LIMITED"}
    assert all(1 <= (error.retry_after_s or 0) <= WINDOW_S for error in pusher.refusals)
    assert pusher.retries > 0
    for player in players:
        rows = [row["accepted_at"].timestamp() for row in await world.rows(player)]
        times = sorted(at - moved_s * sum(at < moved for moved in moved_at) for at in rows)
        assert len(times) == (EDGES + 1) * LIMIT
        spans = [later - earlier for earlier, later in zip(times, times[LIMIT:], strict=False)]
        assert min(spans) >= WINDOW_S - 1e-5, "one more than the limit"
    record_property("updates", len(pusher.taken) + len(pusher.refusals) + LIMIT)


@pytest.mark.promise(row=31)
async def test_no_window_holds_more_than_the_limit_at_its_edges_too(redis_server: RedisServer) -> None:
    """The script itself, with a window short enough to see many of."""
    client = redis.asyncio.Redis.from_url(redis_server.url("score_svc"))
    acceptor, limit, window_ms, user = Acceptor(client), 5, 200, f"u_{uuid4().hex[:8]}"

    def ask() -> Any:
        nonce = new_nonce()
        asked = Asked(uuid4(), user, "win-round", nonce, user, keys.rate(user), limit, window_ms)
        return acceptor.ask(asked, look=False)

    taken: list[int] = []
    while len(taken) < 5 * limit:  # of five windows at least
        for answer in await asyncio.gather(*(ask() for _ in range(20))):
            assert answer.claim in (Claim.NEW, Claim.LIMITED)
            if answer.claim is Claim.NEW:
                taken.append(answer.at_us)
            else:
                assert 0 < answer.wait_s <= window_ms / 1000
    for start in taken:
        assert sum(start <= at < start + window_ms * 1000 for at in taken) <= limit
    await acceptor.close()
    await client.aclose()
