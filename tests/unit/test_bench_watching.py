"""What the bench makes of the frames that watchers got, and of the memory that it saw."""

from __future__ import annotations

import pytest

from bench.cases.memory import growth
from bench.cases.watching import delays_ms
from bench.pushes import Board


def board(version: float, **scores: int) -> Board:
    return Board(version, tuple(scores.items()))


def test_each_update_is_as_late_as_the_first_frame_that_shows_it() -> None:
    sent_s = {"ada": [1.0, 1.1, 1.2], "bob": [1.05]}
    frames = [
        (0.9, board(1, ada=10, bob=5)),
        (1.15, board(2, ada=11, bob=6)),
        (1.25, board(3, bob=6, ada=13)),  # two at once
        (1.3, board(4, bob=6, ada=13)),  # nothing new
    ]
    found = delays_ms(sent_s, {"ada": 10, "bob": 5}, frames)
    assert sorted(found) == pytest.approx([50, 100, 150, 150])


def test_an_update_that_no_frame_shows_has_no_delay() -> None:
    assert not list(delays_ms({"ada": [1.0]}, {"ada": 10}, [(1.5, board(1, ada=10)), (1.6, Board(2, ()))]))


def test_memory_that_swings_is_flat() -> None:
    assert growth("worker", [100, 101, 100, 101, 100, 101, 100, 101]).is_met


def test_memory_that_grows_little_by_little_is_not_flat() -> None:
    figure = growth("worker", [100 + number / 10 for number in range(100)])
    assert figure.value == pytest.approx(5)
    assert figure.is_met is False
