"""Logs: one JSON object a line on stderr, with `@timestamp` (RFC 3339), level, logger, message and the extra fields.

A message is a constant sentence; what varies stands in `extra`, with an `event` name to match on.
"""

import datetime
import logging
import traceback

import orjson

#: Attributes that every LogRecord has; whatever else it carries came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
LINE_BYTES_MAX = 16_000  # container runtimes split lines longer than 16 KiB


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line; the traceback of an exception goes into `error`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, cut to what log shippers keep in one piece."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "@timestamp": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage()[:2000],
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info and record.exc_info[0]:
            line["error"] = "".join(traceback.format_exception(*record.exc_info))[-LINE_BYTES_MAX // 4 :]
        return orjson.dumps(line, default=str).decode()


def configure(service: str, level: str) -> None:
    """Sends all logging of this process to stderr as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Both report each reconnect attempt as an error with a traceback; our modules say it once, in their words.
    for noisy in ("pika", "grpc", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL if noisy == "pika" else logging.WARNING)
