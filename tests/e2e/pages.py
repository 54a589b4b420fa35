"""A page of the documentation: its fenced blocks of commands, and whether what these print is what the page shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
FIGURE = r"((?<![\w-])\d+(?:\\?[.,]\d+)*)"  # 4,711 or 17.4, escaped for a pattern or not, and no part of a name
DAY = r"\b\d{4}\\?-(?:W\d\d|\d\d\\?-\d\d)"  # 2026-11-28 or 2026-W48, the same


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (empty: commands for the shell, `text`: what they print) and what stands in it."""

    language: str
    text: str


def read_blocks(page: str) -> list[Block]:
    """The blocks of a page's text, in order."""
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]


def page_blocks(name: str) -> list[tuple[str, str]]:
    """The commands of a page of docs/ whose every block is followed by what it prints, and that."""
    found = read_blocks((TREE / "docs" / name).read_text())
    assert [block.language for block in found] == ["", "text"] * (len(found) // 2)
    return [(commands.text, shown.text) for commands, shown in zip(found[::2], found[1::2], strict=True)]


def shown_after(found: Sequence[Block], start: str) -> str:
    """The text block that follows the block which starts like this."""
    at = next(number for number, block in enumerate(found) if block.text.startswith(start))
    return next(block.text for block in found[at:] if block.language == "text")


def assert_shows(output: str, shown: str, *, any_figures: bool = False) -> None:
    """The page's lines are printed, in this order. `…` stands for anything.

    any_figures: a figure but 0 stands for any, and so does a day or a week.
    """
    at = 0
    for line in shown.splitlines():
        pattern = re.escape(line).replace("…", ".*")
        if any_figures:
            pattern = re.sub(f"{DAY}|{FIGURE}", lambda found: _any_like(found[0]), pattern)
        match = re.compile(pattern).search(output, at)
        assert match, f"The page shows {line!r}; printed:\n{output}"
        at = match.end()


def _any_like(shown: str) -> str:
    """The pattern of what may stand where the page shows this figure, day or week."""
    if "-" in shown:
        return r"\d{4}-W\d\d" if "W" in shown else r"\d{4}-\d\d-\d\d"
    return "0" if shown == "0" else r"[\d.,]+"
