"""What a process says each minute of what it refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mesh.reasons import Reason
from mesh.resources import Resources
from mesh.rpc_figures import RpcFigures


async def test_refusals_are_told_once_by_method_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    figures, page = RpcFigures("TestService/Refuse"), RpcFigures("GET /refused")
    figures.refused(Reason.BANNED)  # before anyone looked
    resources = Resources({"TestService/Refuse": "/test.TestService/Refuse"})

    def told() -> list[dict[str, Any]]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "mesh.resources"):
            resources.tell()
        found = [vars(record) for record in caplog.records if vars(record).get("event") == "refused"]
        return [{name: one[name] for name in ("method", "reason", "count")} for one in found]

    assert told() == []
    for _ in range(3):
        figures.refused(Reason.BANNED)
    page.refused(Reason.BANNED)
    figures.left(None)  # the caller's doing, and no reason of ours
    assert told() == [{"method": "/test.TestService/Refuse", "reason": "BANNED", "count": 3}]
    assert told() == []
