"""Named points in the code at which a test may stop or kill this process from outside.

Costs nothing when SCOREBOARD_TEST_POINTS is unset: `reached` is then an empty function.
Set, it names a folder: a file NAME in it arms the point NAME once. Whoever reaches the point first removes the file
(so that one process alone acts, and the test sees it gone) and sends itself the signal whose name the file holds.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

VARIABLE = "SCOREBOARD_TEST_POINTS"


def _ignore(name: str) -> None:
    """Does nothing: nobody listens."""


def _listener(folder: Path) -> Callable[[str], None]:
    def reached(name: str) -> None:
        armed = folder / name
        with contextlib.suppress(FileNotFoundError):
            number = signal.Signals[armed.read_text().strip()]
            armed.unlink()
            os.kill(os.getpid(), number)

    return reached


#: Says that the code has come to a point: `points.reached("worker.after_commit")`.
reached: Callable[[str], None] = _listener(Path(os.environ[VARIABLE])) if os.environ.get(VARIABLE) else _ignore
