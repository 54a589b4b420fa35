"""The documentation as a site, without a dead link, and the page on boards beside what the catalogue takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from board import catalogue
from tests.e2e.pages import read_blocks
from tests.meshes import TREE

PAGE = TREE / "docs" / "boards.md"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(TREE / "docs")]
    built = subprocess.run([*sphinx, "-d", str(tmp_path / "doctrees"), str(tmp_path / "site")], capture_output=True)
    assert built.returncode == 0, built.stderr.decode()
    assert "Quick start" in (tmp_path / "site" / "index.html").read_text()


def test_the_page_s_catalogue_is_one() -> None:
    blocks = [block.text for block in read_blocks(PAGE.read_text()) if block.language == "toml"]
    assert [sorted(catalogue.parse(text).boards) for text in blocks] == [["all", "daily"]]


def test_the_page_has_every_key_and_no_other() -> None:
    actions, boards = (
        set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", part, re.MULTILINE))))
        for part in PAGE.read_text().split("## Actions")[1].split("## Boards")
    )
    assert actions == set(catalogue._ActionShape.model_fields)
    assert boards == set(catalogue._BoardShape.model_fields)
