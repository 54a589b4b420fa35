"""Serialised answers: one read for all who wait, never older than their life."""

import asyncio

import pytest

from leaderboard_svc.snapshots import ANSWERS_MAX, FRESH_S, Answer, Snapshots


class Board:
    """A board whose reads are counted and can be held up."""

    def __init__(self) -> None:
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def read(self) -> Answer:
        self.reads += 1
        await self.open.wait()
        return Answer(str(self.reads).encode(), b"{}", '"1"')


async def test_those_who_wait_share_one_read() -> None:
    board, snapshots = Board(), Snapshots[Answer]()
    board.open.clear()
    waiting = [asyncio.create_task(snapshots.get("top", board.read)) for _ in range(100)]
    await asyncio.sleep(0)
    board.open.set()
    assert {answer.body for answer in await asyncio.gather(*waiting)} == {b"1"}
    assert board.reads == 1


async def test_a_caller_that_gives_up_leaves_the_read_to_the_others() -> None:
    board, snapshots = Board(), Snapshots[Answer]()
    board.open.clear()
    first, second = (asyncio.create_task(snapshots.get("top", board.read)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    board.open.set()
    assert (await second).body == b"1"


async def test_an_answer_lives_for_a_moment() -> None:
    now = 100.0
    board, snapshots = Board(), Snapshots[Answer](clock=lambda: now)
    await snapshots.get("top", board.read)
    now += FRESH_S * 0.99
    assert (await snapshots.get("top", board.read)).body == b"1"
    now += FRESH_S * 0.02
    assert (await snapshots.get("top", board.read)).body == b"2"


async def test_a_failed_read_fails_its_waiters_and_is_tried_again() -> None:
    snapshots = Snapshots[Answer]()

    async def fail() -> Answer:
        raise OSError

    with pytest.raises(OSError, match=r"^$"):
        await snapshots.get("top", fail)
    assert (await snapshots.get("top", Board().read)).body == b"1"


async def test_what_was_asked_long_ago_is_forgotten() -> None:
    board, snapshots = Board(), Snapshots[Answer](clock=lambda: 0.0)
    for number in range(ANSWERS_MAX + 1):
        await snapshots.get(number, board.read)
    await snapshots.get(0, board.read)
    assert board.reads == ANSWERS_MAX + 2
