"""A round of claims shares one call of accept.lua, and nothing else: each has its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest
import redis.asyncio

from board import keys
from score_svc.accept import CALL_MAX, Acceptor, Answer, Asked
from score_svc.retry import Claim
from tests.scoring import new_nonce
from tests.servers import RedisServer

WINDOW_MS = 60_000


@dataclass
class Claims:
    """An acceptor with its own Redis account, and the owner's client."""

    acceptor: Acceptor
    owner: redis.asyncio.Redis

    async def round(self, asks: Sequence[Asked]) -> list[Answer]:
        """Asks for all of them at once."""
        return await asyncio.gather(*(self.acceptor.ask(asked, look=False) for asked in asks))


@pytest.fixture
async def claims(redis_server: RedisServer) -> AsyncIterator[Claims]:
    async with (
        redis.asyncio.Redis.from_url(redis_server.url("score_svc")) as client,
        redis.asyncio.Redis.from_url(redis_server.url()) as owner,
    ):
        made = Claims(Acceptor(client), owner)
        yield made
        await made.acceptor.close()


def asked(limit: int = 0, user: str = "") -> Asked:
    user = user or f"u_{uuid4().hex[:8]}"
    return Asked(uuid4(), user, "win-round", new_nonce(), user, keys.rate(user), limit, WINDOW_MS)


async def test_one_that_redis_refuses_costs_the_others_nothing(claims: Claims) -> None:
    asks = [asked(limit=10) for _ in range(5)]
    broken = keys.claim(asks[2].update_id)
    await claims.owner.set(broken, "no hash")
    answers = await claims.round(asks)
    assert [answer.claim for answer in answers] == [Claim.NEW, Claim.NEW, Claim.AWAY, Claim.NEW, Claim.NEW]
    assert [answer.claim for answer in await claims.round(asks[3:])] == [Claim.SEEN] * 2
    await claims.owner.delete(broken)


async def test_a_redis_without_memory_still_tells_what_it_holds(claims: Claims) -> None:
    """Else whoever has logged out could score on for as long as others claim."""
    denied, known, full = asked()._replace(session_id=uuid4().hex), asked(), asked(limit=1)
    other, late = known._replace(action_id="coin"), asked(limit=1, user=full.user_id)
    await claims.owner.set(keys.deny(denied.session_id), "1", ex=60)
    assert [answer.claim for answer in await claims.round([known, full])] == [Claim.NEW] * 2
    await claims.owner.config_set("maxmemory", 1)
    try:
        answers = await claims.round([asked(), denied, known, other, late])
    finally:
        await claims.owner.config_set("maxmemory", 0)
    expected = [Claim.AWAY, Claim.DENIED, Claim.SEEN, Claim.REUSED, Claim.LIMITED]
    assert [answer.claim for answer in answers] == expected


async def test_a_nonce_twice_in_a_round_is_claimed_once(claims: Claims) -> None:
    one = asked(limit=1)
    first, again, reused = await claims.round([one, one, one._replace(action_id="coin")])
    assert (first.claim, again.claim, reused.claim) == (Claim.NEW, Claim.SEEN, Claim.REUSED)
    assert again.at_us == first.at_us


async def test_a_player_s_claims_have_the_order_in_which_they_came(claims: Claims) -> None:
    count = 2 * CALL_MAX + 1  # three calls, in one round trip
    user = asked().user_id
    answers = await claims.round([asked(limit=count, user=user) for _ in range(count)])
    times = [answer.at_us for answer in answers]
    assert {answer.claim for answer in answers} == {Claim.NEW}
    assert times == sorted(set(times))
