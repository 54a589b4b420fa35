"""The first import of each process: what fails from here on, imports included, is told as one JSON line.

Needs the standard library alone, since what fails may be any other package. `mesh.logs` takes over once it is set up.
"""

import datetime
import json
import os
import sys
import traceback
from types import TracebackType

TRACEBACK_CHARACTERS = 2_000  # of which JSON makes 12 kB at most

# gRPC's core writes lines of its own form past Python's logging; what it has to say comes back as errors too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Writes an exception that nobody caught as one line of the index template."""
    line = {
        "@timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "level": "CRITICAL",
        "service": sys.modules["__main__"].__package__ or "unknown",
        "logger": __name__,
        "message": "The process could not be started",
        "event": "start_failed",
        "error": kind.__name__,
        "traceback": "".join(traceback.format_exception(kind, error, trace))[-TRACEBACK_CHARACTERS:],
    }
    sys.stderr.write(json.dumps(line) + "\n")


if sys.modules["__main__"].__spec__ is not None:  # run by `python -m`, as each service is
    sys.excepthook = tell
