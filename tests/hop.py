"""How the gateway of the tests calls the services: SCOREBOARD_TEST_HOP=grpc runs them over the other hop."""

from __future__ import annotations

import os

from scoreboard.local.gateway import Hop

# Read at import: conftest.py takes SCOREBOARD_* out of the environment before any test runs.
HOP = Hop(os.environ.get("SCOREBOARD_TEST_HOP", Hop.HTTP1))
