"""Logs: one JSON object a line on stderr, with the fields of index-template.json and no others (docs/telemetry.md).

A message is a constant sentence; what varies stands in `extra`, with an `event` name to match on.
Holds always: a line is UTF-8 and under LINE_BYTES_MAX, whatever is logged; fields that the template lacks, or that have
another type there, go into `other`; passwords in URLs, tokens and what a database quotes of its rows are left out.
"""

import datetime
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from importlib import resources
from types import TracebackType
from typing import Any

import orjson

from mesh import tracing

#: Attributes that every LogRecord has; whatever else it carries came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
LINE_BYTES_MAX = 16_000  # container runtimes split lines longer than 16 KiB
MESSAGE_MAX, TRACEBACK_MAX, FIELD_MAX = 2_000, 8_000, 1_024  # characters
_OWN = frozenset(("@timestamp", "level", "service", "logger", "message", "traceback", "other"))  # no `extra` sets these
_CORE = ("@timestamp", "level", "service", "logger", "message", "event", "trace_id")
_SECRET = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]+(\.[\w-]*)?"  # a token
    r"|(?<=://)[^\s@]+(?=@)"  # name and password in a URL
    r"|(?<=Bearer )\S+"
    r"|(?<=DETAIL: )[^\n]*"  # of Postgres: it quotes the row
    r"|(?<=invalid input for query argument )[^\n]*"  # of asyncpg: it quotes the value
)
_INT64 = range(-(2**63), 2**63)
_FITS: Mapping[str, Callable[[object], bool]] = {
    "keyword": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str),
    "date": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31,
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool) and value in _INT64,
    "double": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def template() -> dict[str, Any]:
    """Returns the template of the index that lines go to."""
    found: dict[str, Any] = json.loads(resources.files("mesh").joinpath("index-template.json").read_bytes())
    return found


def fields() -> dict[str, str]:
    """Returns the fields that a line may have, with their types."""
    properties = template()["template"]["mappings"]["properties"]
    return {name: properties[name]["type"] for name in properties}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._fields = fields()

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line. Never raises: a wrong log call costs its fields, and says so."""
        line: dict[str, object] = {
            "@timestamp": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
        }
        try:
            self._fill(line, record)
        except Exception as e:
            line |= {"message": "A line could not be written", "event": "log_failed", "error": type(e).__name__}
            line["other"] = _text(repr(record.msg), FIELD_MAX)
        return _fitting(line).decode()

    def _fill(self, line: dict[str, object], record: logging.LogRecord) -> None:
        line["message"] = _text(record.getMessage(), MESSAGE_MAX)
        if (span := tracing.current()) is not None:
            context = span.get_span_context()
            line["trace_id"], line["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = _clean("".join(traceback.format_exception(*record.exc_info)))[-TRACEBACK_MAX:]
        other = {}
        for name, value in vars(record).items():
            if name in _STANDARD or value is None:
                continue
            plain = _text(str(value), FIELD_MAX) if not isinstance(value, bool | int | float) else value
            type_ = self._fields.get(name)
            if type_ is not None and name not in _OWN and _FITS[type_](plain):
                line[name] = plain
            else:
                other[name] = str(plain)
        if other:
            line["other"] = json.dumps(other)[:FIELD_MAX]


def configure(service: str, level: str) -> None:
    """Sends all that this process has to say to stderr as JSON lines: logs, warnings, and what nobody catches."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    _catch_all()
    # Both report each reconnect attempt as an error with a traceback; our modules say it once, in their words.
    for noisy in ("pika", "grpc", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL if noisy == "pika" else logging.WARNING)


def _catch_all() -> None:
    log = logging.getLogger(__name__)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("The process ends by an error", exc_info=(kind, error, trace), extra={"event": "crashed"})

    def in_thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        extra = {"event": "thread_failed", "task": args.thread.name if args.thread else ""}
        log.error("A thread ends by an error", exc_info=(args.exc_type, error, args.exc_traceback), extra=extra)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        error = args.exc_value or args.exc_type()
        found = (args.exc_type, error, args.exc_traceback)
        log.error("An error came where none can be raised", exc_info=found, extra={"event": "unraisable"})

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable


def _text(text: str, most: int) -> str:
    return _clean(text)[:most]


def _clean(text: str) -> str:
    # Lone surrogates, as HTTP headers may bring them, are no UTF-8.
    return _SECRET.sub("***", text.encode(errors="replace").decode())


def _fitting(line: dict[str, object]) -> bytes:
    data = orjson.dumps(line)
    while len(data) >= LINE_BYTES_MAX:
        words = line.get("traceback")
        if isinstance(words, str) and words:
            line["traceback"] = words[len(words) // 2 + 1 :]
        else:
            line = {name: str(line[name])[: FIELD_MAX // 8] for name in _CORE if name in line}
        data = orjson.dumps(line)
    return data
