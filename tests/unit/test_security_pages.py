"""The pages on security name tests that exist, and no row of their tables is without one."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
PAGES = ("SECURITY.md", "docs/security.md", "docs/security-standards.md")
TEST = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")
CODE = re.compile(r"`((?:[a-z0-9_]+/)+[\w.]*)`")
FOLDERS = ("unit", "integration", "e2e", "k8s", "web")  # of tests/
PROVEN = "shown by"  # the last column of tables whose rows need a test


def text_of(page: str) -> str:
    return (TREE / page).read_text()


@lru_cache
def named_in(file: str) -> frozenset[str]:
    """The tests that pytest finds in a file."""
    path = TREE / "tests" / file
    if not path.is_file() or not path.name.startswith("test_"):
        return frozenset()
    body = ast.parse(path.read_text()).body
    functions = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = TEST.findall(text_of(page))
    assert [f"{file}::{name}" for file, name in named if name not in named_in(file)] == []
    assert text_of(page).count("::test_") == len(named), "a test is named in another form than `FILE.py::test_NAME`"


@pytest.mark.parametrize("page", PAGES[1:])
def test_every_row_names_a_test_that_shows_it(page: str) -> None:
    proven, rows = False, 0
    for line in text_of(page).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            proven = False
        elif cells[-1] == PROVEN:
            proven = True
        elif proven and not set(line) <= set("| -"):
            rows += 1
            assert TEST.search(cells[-1]), f"no test behind: {line[:80]}"
    assert rows >= 10


@pytest.mark.parametrize("page", PAGES)
def test_the_code_that_a_page_names_is_there(page: str) -> None:
    named = {path for path in CODE.findall(text_of(page)) if path.split("/")[0] not in FOLDERS}
    assert [path for path in sorted(named) if not (TREE / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text_of(page))
    assert links
    assert [link for link in links if not ((TREE / page).parent / link).exists()] == []
