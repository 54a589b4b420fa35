"""`make mutation`: every guard stands where it is looked for, names tests that are there, and is judged by them."""

from __future__ import annotations

import pytest

from tests.mutation import NO_START, TREE, Guard, judge, read_guards


@pytest.mark.parametrize("guard", read_guards(), ids=lambda guard: guard.name)
def test_a_guard_is_where_it_is_looked_for(guard: Guard) -> None:
    assert guard.is_there(), f"{guard.file} holds it no more, or twice: {guard.old}"
    assert guard.new != guard.old
    for test in guard.tests:
        path, _, name = test.partition("::")
        assert path.startswith("tests/"), "no option: all guards' tests are one command on the whole code"
        assert not name or f"def {name}(" in (TREE / path).read_text()


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (1, "FAILED tests/a.py::test_a - assert 1 == 2\n1 failed, 3 passed in 2.31s\n", "caught"),
        (1, "1 failed, 1 passed, 1 error in 61.02s (0:01:01)\n", "caught"),
        (0, "4 passed in 2.31s\n", "survived"),
        (1, "ERROR tests/a.py::test_a - RuntimeError: failed\n1 error in 0.10s\n", "unclear"),
        (1, f"E   {NO_START}score_svc ended with code 1 while starting\n1 failed in 3.00s\n", "unclear"),
        (2, "1 error in 0.10s\n", "unclear"),
        (5, "no tests ran in 0.01s\n", "unclear"),
        (-1, "no end within 400 s", "unclear"),
    ],
)
def test_a_guard_is_caught_by_a_test_that_failed_and_by_nothing_else(code: int, output: str, verdict: str) -> None:
    assert judge(code, output) == verdict
