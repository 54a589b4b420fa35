"""Which failed tests CI runs once more."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

REFUSAL = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "second_run.py"))["refusal"]
REPORT = '<testsuites><testsuite><testcase name="t"><properties>{}</properties></testcase></testsuite></testsuites>'


@pytest.mark.parametrize(
    ("failed", "told", "why"),
    [
        (1, {"faults": 3, "lost": 0, "doubled": 0}, ""),
        (6, {}, ""),
        (0, {}, "no test failed: something else did"),
        (7, {}, "7 tests failed"),
        (1, {"lost": 1, "doubled": 0}, "1 updates were lost"),
        (1, {"lost": 0, "doubled": 2}, "2 updates were doubled"),
    ],
)
def test_a_few_run_again_unless_an_update_is_missing(
    tmp_path: Path, failed: int, told: dict[str, int], why: str
) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(REPORT.format("".join(f'<property name="{name}" value="{n}"/>' for name, n in told.items())))
    assert REFUSAL([f"test_{n}" for n in range(failed)], report) == why
