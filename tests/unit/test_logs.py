"""mesh/logs.py: whatever is logged becomes a line of the index template, and no line gives a secret away."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from board.seal import Seal, published, read_published
from mesh import logs
from scoreboard.local.servers import ENVOY_LOG
from tests.log_lines import check_line
from tests.services import TREE

SERVICES = ("mesh", "board", "auth_svc", "score_svc", "worker", "leaderboard_svc", "stream_svc", "admin_svc")
FORMATTER = logs.JsonFormatter("test")
TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1XzEifQ.c2lnbmF0dXJl"


def line(message: str, *args: object, error: Any = None, **extra: Any) -> dict[str, Any]:
    """Returns the fields of what is logged so, after the check that every line has to pass."""
    trouble = None if error is None else (type(error), error, error.__traceback__)
    record = logging.getLogger("test").makeRecord("test", 20, "f", 1, message, args, trouble, extra=extra)
    return check_line(FORMATTER.format(record).encode())


def test_a_line_says_when_who_what_and_how_much() -> None:
    found = line("Batch committed", event="batch_committed", count=212)
    assert found.pop("@timestamp").endswith("+00:00")
    assert found == {
        "level": "INFO",
        "service": "test",
        "logger": "test",
        "message": "Batch committed",
        "event": "batch_committed",
        "count": 212,
    }


def test_an_error_comes_with_its_kind_and_its_traceback() -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError as e:
        found = line("It failed", error=e, event="failed")
    assert found["error"] == "RuntimeError"
    assert "test_logs.py" in found["traceback"]
    assert found["traceback"].endswith("RuntimeError: broken\n")


@pytest.mark.parametrize(
    ("extra", "other"),
    [
        ({"colour": "red"}, {"colour": "red"}),
        ({"count": "many"}, {"count": "many"}),
        ({"port": 2**31}, {"port": str(2**31)}),
        ({"ready": 1}, {"ready": "1"}),
        ({"count": True}, {"count": "True"}),
        ({"board": object}, None),
        ({"board": None}, None),
        ({"level": "high", "service": "other"}, {"level": "high", "service": "other"}),
    ],
)
def test_what_the_template_does_not_know_stands_in_one_field(
    extra: dict[str, Any], other: dict[str, str] | None
) -> None:
    found = line("Odd", **extra)
    assert json.loads(found.get("other", "null")) == other


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines",
        "\x00\x1b\x7f" * 3000,
        "\udcff lone",
        "🙂" * 20_000,
        '"' * 20_000,
    ],
    ids=["plain", "lines", "controls", "surrogate", "wide", "quotes"],
)
def test_any_text_fits_into_one_line_of_utf8(text: str) -> None:
    assert line("%s", text)["message"]
    assert line("Message", board=text, error=ValueError(text), label=text, what=text, cause=text)["message"]
    kinds = {name: kind for name, kind in logs.fields().items() if name not in ("error", "trace_id", "span_id")}
    assert line("Message", **{name: text for name, kind in kinds.items() if kind == "keyword"})["message"]


def test_a_wrong_log_call_says_so_and_is_a_line_too() -> None:
    assert line("%d", "no number")["event"] == "log_failed"


@pytest.mark.parametrize(
    "text",
    [
        f"the token {TOKEN} is old",
        "cannot reach amqp://worker:SECRET@host:5672/x",
        "postgresql://worker:SECRET@host/x",
        "Bearer SECRET",
        "duplicate key value\nDETAIL:  Key (username_key)=(SECRET) already exists.",
        "invalid input for query argument $1: 'SECRET' (an integer is required)",
    ],
)
def test_secrets_are_left_out_wherever_they_come(text: str) -> None:
    written = json.dumps([line("%s", text), line("A", error=ValueError(text)), line("A", reason=text)])
    assert "SECRET" not in written
    assert TOKEN.split(".")[1] not in written
    assert "***" in written


def extras() -> list[tuple[str, str]]:
    """The literal keys of every `extra` in the services."""
    found = []
    for path in sorted(path for folder in SERVICES for path in (TREE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            dicts = [node] if isinstance(node, ast.Dict) else []
            keys = [key.value for one in dicts for key in one.keys if isinstance(key, ast.Constant)]
            if "event" in keys:
                found += [(str(path.relative_to(TREE)), str(key)) for key in keys]
    return found


def test_every_field_that_our_code_logs_is_in_the_template() -> None:
    found, known = extras(), logs.fields()
    assert len({file for file, _ in found}) > 20
    assert [(file, key) for file, key in found if key not in known] == []


def test_the_template_takes_no_field_that_it_does_not_name() -> None:
    mappings = logs.template()["template"]["mappings"]
    assert mappings["dynamic"] == "strict"
    assert {"date", "keyword", "text", "long", "integer", "boolean", "double"} >= set(logs.fields().values())


def test_a_published_seal_is_logged_whole() -> None:
    at = datetime.now(UTC)
    seal = Seal(
        seal_no=7,
        seal=b"s",
        signature=b"t",
        kid="k",
        root=b"r",
        row_count=2,
        from_txid=1,
        to_txid=2,
        cluster=3,
        sealed_at=at,
    )
    assert read_published(line("Sealed", event="sealed", **published(seal))) == seal


@pytest.mark.parametrize("file", ["k8s/base/envoy.yaml", "compose.yaml"])
def test_envoy_says_what_it_has_to_say_in_lines_everywhere(file: str) -> None:
    assert f"--log-format, '{ENVOY_LOG}'" in (TREE / file).read_text()


def test_a_failed_import_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "asyncpg.py").write_text("raise ImportError('no such library')")
    ended = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=TREE,
        env={"PYTHONPATH": f"{tmp_path}"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 1
    found = check_line(ended.stderr.removesuffix(b"\n"))
    assert (found["service"], found["event"], found["error"]) == ("worker", "start_failed", "ImportError")
