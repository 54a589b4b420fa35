"""mesh/rounds.py: who shares a round, and who is told of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mesh.rounds import Rounds


class Desk:
    """Answers questions with their tenfold, when it is let; notes the rounds."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.begun = asyncio.Event()
        self.is_open = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, questions: Sequence[int]) -> Sequence[int | Exception]:
        self.rounds.append(list(questions))
        self.begun.set()
        await self.is_open.wait()
        if self.error is not None:
            raise self.error
        return [LookupError(str(question)) if question < 0 else 10 * question for question in questions]


async def test_those_who_ask_in_one_turn_share_a_round_and_the_next_waits_for_its_end() -> None:
    desk = Desk()
    rounds = Rounds("test", desk.answer, 10)
    first = [rounds.ask(1), rounds.ask(2)]
    await desk.begun.wait()
    second = [rounds.ask(3), rounds.ask(4), rounds.ask(5)]
    desk.is_open.set()
    assert await asyncio.gather(*first, *second) == [10, 20, 30, 40, 50]
    assert desk.rounds == [[1, 2], [3, 4, 5]]


async def test_a_round_holds_no_more_than_its_bound() -> None:
    desk = Desk()
    desk.is_open.set()
    rounds = Rounds("test", desk.answer, 2)
    assert await asyncio.gather(*(rounds.ask(number) for number in range(5))) == [0, 10, 20, 30, 40]
    assert desk.rounds == [[0, 1], [2, 3], [4]]


async def test_an_answer_that_is_an_error_fails_its_question_alone() -> None:
    desk = Desk()
    desk.is_open.set()
    rounds = Rounds("test", desk.answer, 10)
    answers = await asyncio.gather(rounds.ask(1), rounds.ask(-2), rounds.ask(3), return_exceptions=True)
    assert [answers[0], str(answers[1]), answers[2]] == [10, "-2", 30]


async def test_a_failed_round_fails_those_who_wait_too_and_the_next_goes_on() -> None:
    desk = Desk()
    desk.error = OSError("away")
    rounds = Rounds("test", desk.answer, 1)
    asked = [rounds.ask(1)]
    await desk.begun.wait()
    asked += [rounds.ask(2), rounds.ask(3)]
    desk.is_open.set()
    assert await asyncio.gather(*asked, return_exceptions=True) == [desk.error] * 3
    assert desk.rounds == [[1]]
    desk.error = None
    assert await rounds.ask(4) == 40


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    desk = Desk()
    rounds = Rounds("test", desk.answer, 10)
    leaving, staying = rounds.ask(1), rounds.ask(2)
    await desk.begun.wait()
    leaving.cancel()
    desk.is_open.set()
    assert await staying == 20
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_closing_waits_for_what_is_on_its_way() -> None:
    desk = Desk()
    rounds = Rounds("test", desk.answer, 10)
    asked = rounds.ask(1)
    closing = asyncio.ensure_future(rounds.close())
    await desk.begun.wait()
    assert not closing.done()
    desk.is_open.set()
    await closing
    assert asked.result() == 10
    await rounds.close()
