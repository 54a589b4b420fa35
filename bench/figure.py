"""What the bench found: figures beside their goals, as a table, in results/latest.json and in docs/performance.md."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

TREE = Path(__file__).parent.parent
RESULTS = TREE / "bench/results/latest.json"
PAGE = TREE / "docs/performance.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"


@dataclass(frozen=True)
class Goal:
    """The bound that a figure is to keep."""

    bound: float
    is_most: bool = True  # False: the figure is to be at least so much

    def is_met(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value <= self.bound if self.is_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.is_most else '≥'} {_short(self.bound)}"


@dataclass(frozen=True)
class Figure:
    """One figure, as often as it was measured.

    name: the case and what of it, such as "unary: CPU". unit: of the values, such as "µs" or "× empty".
    parts: median share of each process, in the figure's unit, where it is a sum over processes.
    """

    name: str
    values: Sequence[float]
    unit: str
    goal: Goal | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return None if self.goal is None else self.goal.is_met(self.value)

    def row(self, date: str) -> dict[str, object]:
        """Returns the figure as a row of results/latest.json."""
        return {
            "name": self.name,
            "value": _round(self.value),
            "unit": self.unit,
            "goal": None if self.goal is None else str(self.goal),
            "met": self.is_met,
            "spread": [_round(min(self.values)), _round(max(self.values))],
            "machine": machine(),
            "date": date,
        } | ({"parts": {name: _round(part) for name, part in self.parts.items()}} if self.parts else {})

    def cells(self) -> list[str]:
        """Returns the figure as cells of a table: see COLUMNS."""
        met = {None: "", True: "met", False: "missed"}[self.is_met]
        by_process = ", ".join(f"{name} {_short(part)}" for name, part in self.parts.items() if part >= 1)
        spread = f"{_short(min(self.values))} to {_short(max(self.values))}" if len(self.values) > 1 else ""
        goal = "" if self.goal is None else str(self.goal)
        return [self.name, f"{_short(self.value)} {self.unit}", spread, goal, met, by_process]


COLUMNS = ("figure", "median", "spread", "goal", "", "by process")


def machine() -> str:
    """Returns what the figures were measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()} of {sys.base_prefix}"


def table(figures: Iterable[Figure]) -> Table:
    """Returns the figures as a table for a terminal."""
    shown = Table(*COLUMNS)
    for figure in figures:
        shown.add_row(*figure.cells())
    return shown


def save(figures: Sequence[Figure], date: str, file: Path = RESULTS) -> None:
    """Puts the figures into the file of results; those of other cases that it has stay."""
    kept = json.loads(file.read_text()) if file.exists() else []
    new = {figure.name: figure.row(date) for figure in figures}
    rows = [new.pop(row["name"], row) for row in kept] + list(new.values())
    file.parent.mkdir(exist_ok=True)
    file.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


def write_page(file: Path = RESULTS, page: Path = PAGE) -> None:
    """Puts the rows of the file of results into the page, between its two marks. Raises ValueError without them."""
    lines = ["| figure | median | spread | goal | met | date |", "| --- | --- | --- | --- | --- | --- |"]
    for row in json.loads(file.read_text()):
        low, high = row["spread"]
        met = {None: "", True: "yes", False: "no"}[row["met"]]
        spread = f"{_short(low)} to {_short(high)}"
        value = f"{_short(row['value'])} {row['unit']}"
        lines.append(f"| {row['name']} | {value} | {spread} | {row['goal'] or ''} | {met} | {row['date']} |")
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page.name} has no marks {BEGIN} and {END}")
    block = "\n".join([BEGIN, *lines, END])
    page.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, text, flags=re.DOTALL))


def _round(value: float) -> float:
    return round(value, 3 if abs(value) < 10 else 1)


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
