"""mesh/alive.py: which port it asks, of all that a service is told."""

from __future__ import annotations

import pytest

from mesh.alive import port_of_service
from mesh.settings import PREFIX
from tests.unit.test_wiring import SETTINGS


@pytest.mark.parametrize("service", SETTINGS)
def test_it_asks_the_grpc_port_of_each_service(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, field in enumerate(SETTINGS[service].model_fields, start=1):
        monkeypatch.setenv(PREFIX + field.upper(), str(number))
    own = f"{service.removesuffix('_svc')}_port"
    assert port_of_service() == list(SETTINGS[service].model_fields).index(own) + 1


def test_where_no_service_is_named_it_asks_for_a_url() -> None:
    with pytest.raises(SystemExit, match="say a URL"):
        port_of_service()
