"""docs/wiring.md says what the code does: every setting, its readers and default, every account and test point."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from admin_svc.settings import AdminSettings
from auth_svc.settings import AuthSettings
from leaderboard_svc.settings import LeaderboardSettings
from mesh.settings import PREFIX, ServiceSettings
from score_svc.settings import ScoreSettings
from scoreboard.local import gateway
from scoreboard.local.accounts import REDIS_RULES, SERVICES
from stream_svc.settings import StreamSettings
from worker.settings import WorkerSettings

TREE = Path(__file__).resolve().parents[2]
WIRING = (TREE / "docs" / "wiring.md").read_text()
SETTINGS: dict[str, type[BaseSettings]] = {
    "auth_svc": AuthSettings,
    "score_svc": ScoreSettings,
    "leaderboard_svc": LeaderboardSettings,
    "stream_svc": StreamSettings,
    "admin_svc": AdminSettings,
    "worker": WorkerSettings,
}
MUST_BE_GIVEN = "–"


def rows(first_column: str) -> dict[str, list[str]]:
    """The rows of the table whose first column has this title, by the code in their first cell."""
    _, _, rest = WIRING.partition(f"| {first_column} |")
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("` "): row[1:] for row in cells}


VARIABLES = rows("variable")
FIELDS = {
    (service, PREFIX + name.upper()): field
    for service, settings in SETTINGS.items()
    for name, field in settings.model_fields.items()
}


def listed_default(field: FieldInfo, cell: str) -> Any:
    if cell == "none":
        return None
    text, adapter = cell.strip("`"), TypeAdapter[Any](field.annotation or str)
    return adapter.validate_json(text) if text.startswith("[") else adapter.validate_python(text)


def test_each_service_has_a_settings_class_here() -> None:
    assert set(SETTINGS) == set(SERVICES)


@pytest.mark.parametrize(("service", "variable"), FIELDS)
def test_a_setting_is_listed_with_its_readers_and_default(service: str, variable: str) -> None:
    field = FIELDS[service, variable]
    assert variable in VARIABLES, f"docs/wiring.md does not list {variable}"
    readers, default, meaning = VARIABLES[variable]
    assert readers == "all" or service in readers.split(", ")
    if field.is_required():
        assert default == MUST_BE_GIVEN
    else:
        assert listed_default(field, default) == field.default
    assert meaning


def test_nothing_is_listed_that_nobody_reads() -> None:
    listed = {
        (service, variable)
        for variable, (readers, *_) in VARIABLES.items()
        for service in (SETTINGS if readers == "all" else readers.split(", "))
    }
    assert listed == set(FIELDS)


def test_every_test_point_is_listed() -> None:
    code = [path.read_text() for folder in ("mesh", "board", *SETTINGS) for path in (TREE / folder).rglob("*.py")]
    reached = {name for text in code for name in re.findall(r'^\s+points\.reached\("([\w.]+)"\)', text, re.MULTILINE)}
    assert set(rows("point")) == reached


def test_a_drain_lasts_for_two_looks_of_the_gateway() -> None:
    looks = [str(gateway.CHECK[name]) for name in ("interval", "no_traffic_interval")]
    looks_s = [float(text.removesuffix("s")) for text in looks]
    assert 2 * max(looks_s) <= ServiceSettings.model_fields["drain_s"].default


@pytest.mark.parametrize("service", SERVICES)
def test_an_account_is_listed_with_its_keys_in_redis(service: str) -> None:
    listed = rows("account")[service][1]
    assert set(re.findall(r"sb:\w+", listed)) == set(re.findall(r"sb:\w+", REDIS_RULES[service]))
