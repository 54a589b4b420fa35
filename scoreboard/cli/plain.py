"""Prints for programs and for people: JSON whose instants are RFC 3339 and whose ids are text; lines of a ledger."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

if TYPE_CHECKING:
    from scoreboard.v1 import admin_pb2

SECONDS = "%Y-%m-%d %H:%M:%S"


def to_json(value: Any, **more: object) -> str:
    """Return a message, a dataclass or a mapping as JSON on one line, with more members."""
    return json.dumps({**_members(value), **more}, default=_plain, ensure_ascii=False)


def print_json(value: Any, **more: object) -> None:
    """Print it."""
    print(to_json(value, **more))


def printable(text: object) -> str:
    """Return what others wrote as a terminal may show it: no control character of it moves a cursor or sets a title."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in str(text))


def at(instant: datetime | str) -> str:
    """Return an instant, or its RFC 3339, to the second and in UTC."""
    return (datetime.fromisoformat(instant) if isinstance(instant, str) else instant).strftime(SECONDS)


def ledger_line(applied_at: datetime | str, points: float, what: str, outcome: str, by: str | None) -> str:
    """Return a row of the ledger: when, how much, what became of it, and who reported it (empty: the player)."""
    return f"{at(applied_at)} {points:+9.0f}  {what} {outcome}, by {by or 'the player'}"


def row_line(row: admin_pb2.LedgerRow) -> str:
    """Return AdminService's row of the ledger as `ledger_line` does, its id on a line below."""
    what = row.action_id if row.kind in ("update", "import") else row.kind
    line = ledger_line(row.applied_at, row.score_change, what, f"{row.outcome} {row.reason}".strip(), row.reporter)
    return f"{line}\n    {row.update_id}" + (f" takes back {row.reverses}" if row.reverses else "")


def _members(value: Any) -> dict[str, Any]:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return dict(value)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
