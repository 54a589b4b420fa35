"""The two sizes of a promise's test: small in `make test`, full in `make soak`, as PROMISES.md lists them.

A test says which row it proves by `@pytest.mark.promise(row=3)`, takes its counts from `sized`, its random choices
from `random` (seeded anew for each test by pytest-randomly: `--randomly-seed=N` runs it again), and tells what it
did by the fixture `record_property`: `faults`, `updates`, `lost`, `doubled`, whole numbers that `make soak` adds up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")
Record = Callable[[str, object], None]  # what the fixture `record_property` is

# Read at import: conftest.py takes SCOREBOARD_* out of the environment before any test runs.
SOAK = os.environ.get("SCOREBOARD_TEST_SOAK") == "1"


def sized(test: T, soak: T) -> T:
    """Return the size for this run."""
    return soak if SOAK else test


#: Factor on promised times: `make test` shares two cores with whatever else runs; the full run has them to itself.
BUSY = sized(3.0, 1.0)

#: For properties that are tried on what a fixture made once: each example brings players or connections of its own.
SHARING = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

# In `make test` the same examples each time, on however busy a machine; new finds belong to the full size.
settings.register_profile(
    "tests", deadline=None, derandomize=not SOAK, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")
