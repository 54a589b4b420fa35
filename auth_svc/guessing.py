"""Slows guessing of passwords: failed attempts count per address, and per account and address.

An attempt is taken before the password is hashed and given back when it was right, so that many at once cannot slip
past a count that comes later. Redis keeps the counts for all instances; while it is away this process counts alone.
Holds always: accounts are never locked, nobody waits inside a call, and names and addresses are not stored in clear.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from auth_svc.bucket import Limit, give_back, take
from mesh.reasons import Reason
from mesh.redis import AWAY, breaker
from mesh.refusal import Refused
from mesh.scripts import load_script, run

_TAKE = load_script(__package__, "take.lua")
_GIVE_BACK = load_script(__package__, "give_back.lua")
REMEMBERED_MAX = 100_000  # buckets in this process while Redis is away, the oldest forgotten first
BURST_MINUTES = 3  # as the gateway's own shield: N a minute in the long run, 3 N at once
ACCOUNT_SHARE = 4  # of an address's attempts, what may go to one account: 5 a minute by default, 15 at once

Bucket = tuple[str, Limit]


class Guessing:
    """The counts of failed attempts; `logins_per_minute` is the limit of one address."""

    def __init__(self, redis: Redis, logins_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._breaker = breaker()
        self._clock = clock
        self._own: OrderedDict[str, float] = OrderedDict()
        self._address = Limit(60 / logins_per_minute, BURST_MINUTES * logins_per_minute)
        own_share = max(1, logins_per_minute // ACCOUNT_SHARE)
        self._account = Limit(60 / own_share, BURST_MINUTES * own_share)

    @asynccontextmanager
    async def attempt(self, address: str, account: str | None = None) -> AsyncIterator[None]:
        """Holds an attempt of an address (on an account) that counts only if the body raises.

        Raises Refused(RATE_LIMITED) with the time to wait, before the body runs.
        """
        buckets = [(_key("address", address), self._address)]
        if account is not None:
            buckets.append((_key("account", account, address), self._account))
        wait_s = await self._try_take(buckets)
        if wait_s > 0:
            raise Refused(Reason.RATE_LIMITED, "Too many attempts: wait a little.", retry_after_s=wait_s)
        try:
            yield
        except Refused as refused:
            if refused.reason in _NOT_A_GUESS:
                await self._try_give_back(buckets)
            raise
        else:
            await self._try_give_back(buckets)

    async def _try_take(self, buckets: Sequence[Bucket]) -> float:
        if not self._breaker.is_open:
            try:
                wait_us = await run(self._redis, _TAKE, *_arguments(buckets))
                self._breaker.worked()
                return int(wait_us) / 1e6
            except AWAY:
                self._breaker.failed()
        return self._take_here(buckets)

    async def _try_give_back(self, buckets: Sequence[Bucket]) -> None:
        if not self._breaker.is_open:
            try:
                await run(self._redis, _GIVE_BACK, *_arguments(buckets))
                self._breaker.worked()
            except AWAY:
                self._breaker.failed()
        for key, limit in buckets:
            if key in self._own:
                self._own[key] = give_back(self._own[key], limit)

    def _take_here(self, buckets: Sequence[Bucket]) -> float:
        now = self._clock()
        taken = {key: take(self._own.get(key, 0.0), now, limit) for key, limit in buckets}
        wait_s = max(wait_s for _, wait_s in taken.values())
        if wait_s == 0:
            for key, (empty_at, _) in taken.items():
                self._own[key] = empty_at
                self._own.move_to_end(key)
            while len(self._own) > REMEMBERED_MAX:
                self._own.popitem(last=False)
        return wait_s


#: Refusals that say nothing about a password: a server that is away must not use up anyone's attempts.
_NOT_A_GUESS = frozenset({Reason.SERVICE_AWAY, Reason.QUEUE_FULL, Reason.BANNED})


def _key(kind: str, *parts: str) -> str:
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return f"sb:guess:{kind}:{digest}"


def _arguments(buckets: Sequence[Bucket]) -> tuple[list[str], list[int]]:
    keys = [key for key, _ in buckets]
    return keys, [number for _, limit in buckets for number in (round(limit.interval_s * 1e6), limit.burst)]
