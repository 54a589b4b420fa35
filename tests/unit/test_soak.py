"""What `make soak` takes for proven, and where it goes on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import typer

from tests import soak
from tests.soak import Row, Run, load, parse_rows, read_code, read_report, resumable

CASE = """
<testcase name="a"><properties><property name="faults" value="2"/><property name="updates" value="30"/></properties>
</testcase>
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of results."""
    monkeypatch.setattr(soak, "FOLDER", tmp_path)
    return tmp_path


def report(folder: Path, *cases: str) -> Path:
    file = folder / "report.xml"
    file.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return file


def test_rows_are_named_one_by_one_and_by_ranges() -> None:
    assert parse_rows("1,3,9-12") == [1, 3, 9, 10, 11, 12]
    for wrong in ("", "a", "1-", "0", "40", "3-x", "5-3", "1-2-3"):
        with pytest.raises(typer.BadParameter):
            parse_rows(wrong)


def test_what_the_tests_of_a_row_counted_is_added_up(tmp_path: Path) -> None:
    row = read_report(report(tmp_path, CASE, CASE), 7.0, is_good=True)
    assert row == Row("passed", 7.0, tests=2, faults=4, updates=60, lost=0, doubled=0)


@pytest.mark.parametrize(
    ("cases", "is_good"), [([CASE], False), ([], True), ([CASE, '<testcase name="b"><skipped/></testcase>'], True)]
)
def test_a_row_that_failed_or_skipped_a_test_is_not_proven(tmp_path: Path, cases: list[str], is_good: bool) -> None:
    assert not read_report(report(tmp_path, *cases), 1.0, is_good=is_good).is_passed


def test_a_row_without_a_report_is_not_proven(tmp_path: Path) -> None:
    assert not read_report(tmp_path / "none.xml", 1.0, is_good=True).is_passed


@pytest.mark.usefixtures("folder")
def test_a_run_that_was_stopped_goes_on_with_its_seed_and_its_code_alone() -> None:
    assert resumable("abc", [1, 2]) is None
    run = Run(7, "abc", {1: Row("passed", 1.0, faults=3), 2: Row("stopped", 1.0)})
    run.save()
    assert load(7) == run
    assert resumable("abc", [1, 2]) == 7
    assert resumable("abd", [1, 2]) is None
    run.rows[2] = Row("failed", 1.0)
    run.save()
    assert resumable("abc", [1, 2]) is None
    assert resumable("abc", [1, 2, 3]) == 7


def test_the_name_of_the_code_changes_with_each_change_of_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@a.test", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    known, new = tmp_path / "known.py", tmp_path / "new.py"
    git("init")
    known.write_text("1")
    git("add", "known.py")
    git("commit", "-m", "first")
    names = [read_code(tmp_path)]
    for file, text in ((known, "2"), (known, "3"), (new, "1"), (new, "2")):
        file.write_text(text)
        names.append(read_code(tmp_path))
        assert read_code(tmp_path) == names[-1]
    assert len(set(names)) == 5
    new.unlink()
    known.write_text("1")
    assert read_code(tmp_path) == names[0]


def test_a_row_that_shows_less_than_it_promises_says_so(folder: Path) -> None:
    Run(7, "abc", {39: Row("passed", 1.0, note="a part of it")}).save()
    assert "a part" in json.loads((folder / "7.json").read_text())["rows"]["39"]["note"]
    kept = load(7)
    assert kept is not None
    assert kept.rows[39].told == "passed (a part of it)"
