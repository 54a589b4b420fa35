"""auth_svc/hashing.py: a password fits its own hash alone, and a crowd is refused instead of queued."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from auth_svc.hashing import Hasher
from mesh.reasons import Reason
from mesh.refusal import Refused


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    hasher = Hasher(memory_kib=64, passes=1, waiting_max=3)
    yield hasher
    hasher.close()


async def test_a_password_fits_its_own_hash_alone(hasher: Hasher) -> None:
    stored = await hasher.hash(b"right")
    assert await hasher.verify(stored, b"right")
    assert not await hasher.verify(stored, b"wrong")
    assert not await hasher.verify(None, b"right")
    assert not await hasher.verify("no hash at all", b"right")


async def test_more_than_can_be_done_soon_is_refused_at_once(hasher: Hasher) -> None:
    results = await asyncio.gather(*(hasher.hash(b"x") for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refused)]
    assert [(one.reason, one.retry_after_s) for one in refused] == [(Reason.QUEUE_FULL, 1)] * 2
    assert len({result for result in results if isinstance(result, str)}) == 3
    await hasher.hash(b"x")  # there is room again


async def test_hashes_of_other_parameters_are_outdated(hasher: Hasher) -> None:
    stronger = Hasher(memory_kib=128, passes=1, waiting_max=1)
    assert stronger.is_outdated(await hasher.hash(b"x"))
    assert not hasher.is_outdated(await hasher.hash(b"x"))
    stronger.close()
