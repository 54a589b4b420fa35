"""The keys of several auth_svc on one Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from auth_svc.keyring import Keyring
from auth_svc.rotation import Schedule
from mesh.keys import MasterKeys
from mesh.reasons import Reason
from mesh.refusal import Refused
from tests.servers import Database
from tests.waiting import eventually

SCHEDULE = Schedule(key_life_s=86_400, token_life_s=600)
OLD, BOTH, NEW = (
    MasterKeys(current=1, keys={1: b"1" * 32}),
    MasterKeys(current=2, keys={1: b"1" * 32, 2: b"2" * 32}),
    MasterKeys(current=2, keys={2: b"2" * 32}),
)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database.url("auth_svc"), min_size=1, max_size=6) as pool:
        yield pool


async def started(stack: AsyncExitStack, pool: asyncpg.Pool, master_keys: MasterKeys) -> Keyring:
    keyring = Keyring(pool, master_keys, SCHEDULE)
    stack.push_async_callback(keyring.close)
    await keyring.start()
    return keyring


async def test_services_that_start_at_once_sign_with_one_key(pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        keyrings = await asyncio.gather(*(started(stack, pool, OLD) for _ in range(5)))
        assert all(keyring.is_ready for keyring in keyrings)
        assert len({keyring.signing()[0] for keyring in keyrings}) == 1
        (key,) = json.loads(keyrings[0].jwks() or b"")["keys"]
        assert key["kid"] == keyrings[0].signing()[0]


async def test_a_master_key_can_be_replaced_and_then_taken_away(pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        kid = (await started(stack, pool, OLD)).signing()[0]
        assert (await started(stack, pool, BOTH)).signing()[0] == kid
        assert (await started(stack, pool, NEW)).signing()[0] == kid


async def test_a_key_that_nobody_can_unwrap_is_replaced_and_stays_published(pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        lost = (await started(stack, pool, OLD)).signing()[0]
    async with AsyncExitStack() as stack:
        keyring = await started(stack, pool, NEW)
        kid = keyring.signing()[0]
        assert kid != lost
        assert {key["kid"] for key in json.loads(keyring.jwks() or b"")["keys"]} == {kid, lost}


async def test_retired_private_keys_are_destroyed_with_the_next_rotation(pool: asyncpg.Pool) -> None:
    async with AsyncExitStack() as stack:
        keyring = await started(stack, pool, OLD)
        first = keyring.signing()[0]
        await pool.execute("UPDATE jwt_keys SET retire_at = now()")

        async def replaced() -> bool:
            return bool(await pool.fetchval("SELECT count(*) = 0 FROM jwt_keys WHERE kid = $1", first))

        await eventually(replaced, what="the end of the retired key")
        await eventually(lambda: keyring.is_ready, what="the next key")
        assert keyring.signing()[0] != first


async def test_without_keys_nothing_is_signed(pool: asyncpg.Pool) -> None:
    keyring = Keyring(pool, OLD, SCHEDULE)
    assert not keyring.is_ready
    assert keyring.jwks() is None
    with pytest.raises(Refused) as caught:
        keyring.signing()
    assert caught.value.reason is Reason.SERVICE_AWAY
