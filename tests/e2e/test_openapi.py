"""The gateway does what its OpenAPI document says: schemathesis sends what the document allows and what it forbids.

What it finds that is no fault stands in schemathesis.toml, with the reason.
"""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import schemathesis.specs.openapi.object_authorization  # else within a call so deep that Python 3.11 cannot compile it
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import SchemathesisConfig

from scoreboard.local.nginx import REFERENCE
from tests.meshes import Mesh
from tests.sizes import sized

CONFIG = SchemathesisConfig.from_path(Path(__file__).with_name("schemathesis.toml"))
SCHEMA = schemathesis.openapi.from_path(REFERENCE / "openapi.json", config=CONFIG)
PASSWORD = "correct horse battery"
CALLS_EACH = 40  # fewer than the shield lets a player through in a minute (60)


class Players:
    """Access tokens: a new player for each few calls, so that no test is about the limits."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._uses = itertools.count()
        self._token = ""

    def token(self) -> str:
        """Returns a good one."""
        if next(self._uses) % CALLS_EACH == 0:
            body = {"username": f"schema-{secrets.token_hex(6)}", "password": PASSWORD}
            answer = requests.post(f"{self._url}/api/auth/register", json=body, timeout=20)
            self._token = answer.json()["access_token"]
        return self._token


@pytest.fixture(scope="session")
def players(running: Mesh) -> Players:
    return Players(running.url)


@pytest.mark.promise(row=39)
@SCHEMA.parametrize()
@settings(
    max_examples=sized(10, 500),
    deadline=None,
    derandomize=sized(True, False),  # new finds belong to the full size
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_the_gateway_does_what_the_document_says(case: Any, running: Mesh, players: Players) -> None:
    is_guarded = bool(case.operation.definition.raw.get("security"))
    headers = {"Authorization": f"Bearer {players.token()}"} if is_guarded else {}
    case.call_and_validate(base_url=running.url, headers=headers, timeout=20)
