"""What every line of every log must be, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mesh import logs

BYTES_MAX = 16 * 1024
ALWAYS = {"@timestamp", "level", "service", "message"}
LEVELS = {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
HEX = {"trace_id": re.compile("[0-9a-f]{32}"), "span_id": re.compile("[0-9a-f]{16}")}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
FIELDS = logs.fields()


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and bool(RFC3339.fullmatch(value)) and datetime.fromisoformat(value) is not None


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "date": _is_date,
    "keyword": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int and abs(value) < 2**31,
    "long": lambda value: type(value) is int and abs(value) < 2**63,
    "double": lambda value: type(value) in (int, float),
}


def check_line(data: bytes) -> dict[str, Any]:
    """Returns the fields of a line; fails unless an index with our template would take it as it is."""
    assert len(data) < BYTES_MAX, f"{len(data)} bytes: {data[:200]!r}"
    assert b"\n" not in data
    try:
        line = json.loads(data.decode())
    except ValueError as error:
        raise AssertionError(f"no JSON: {data[:500]!r}") from error
    assert isinstance(line, dict), line
    assert line.keys() >= ALWAYS, line
    for name, value in line.items():
        assert name in FIELDS, f"{name} is not in the template: {line}"
        assert value is None or TYPES[FIELDS[name]](value), f"{name} is no {FIELDS[name]}: {line}"
    assert line["level"].upper() in LEVELS, line
    for name, form in HEX.items():
        assert line.get(name) is None or form.fullmatch(line[name]), line
    return line


def lines(log: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of a log, each checked."""
    for data in log.read_bytes().splitlines():
        yield check_line(data)
