"""Log lines on their way to an index: a real shipper (rsyslog) tails them, and an index of the test's takes them.

Fluent Bit, which the manifests name, is not to be had here; what is shown is that our lines survive tailing, parsing
and the bulk format whole (but for what follows a NUL, where texts end for rsyslog), and that what is no line of ours
stops nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import pytest
from aiohttp import web

from mesh import logs
from tests.log_lines import check_line
from tests.waiting import SCALE, eventually

CONFIGURATION = Path(__file__).with_name("rsyslog.conf.tmpl")
TEXTS = ("plain", 'quoted "words" and \\ strokes', "two\nlines", "Grüße, 世界, 🙂", "\x01\x1b", "x" * 1_900)
LINES = 600
NO_JSON = "Segmentation fault"


@dataclass
class Index:
    """What was put into the index, by its bulk endpoint; each document as the index's template demands."""

    port: int = 0
    documents: list[dict[str, Any]] = field(default_factory=list)

    async def bulk(self, request: web.Request) -> web.Response:
        rows = (await request.read()).splitlines()
        for action, document in zip(rows[::2], rows[1::2], strict=True):
            assert json.loads(action)["create"]["_index"] == "scoreboard-logs-default"
            self.documents.append(check_line(document))
        done = [{"create": {"status": 201, "result": "created"}} for _ in rows[::2]]
        return web.json_response({"errors": False, "items": done})


@asynccontextmanager
async def indexing() -> AsyncIterator[Index]:
    index, app = Index(), web.Application()
    app.router.add_post("/_bulk", index.bulk)
    app.router.add_route("*", "/", lambda _: asyncio.sleep(0, web.json_response({"version": {"number": "8.0.0"}})))
    app.router.add_get("/{any:.*}", lambda _: asyncio.sleep(0, web.json_response({})))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    index.port = runner.addresses[0][1]
    try:
        yield index
    finally:
        await runner.cleanup()


@asynccontextmanager
async def shipping(index: Index, folder: Path, log_folder: Path) -> AsyncIterator[Path]:
    """Runs rsyslog on the logs, and yields the file of what is no JSON."""
    program = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
    assert program, "rsyslogd is missing: run make test-ops, which installs it"
    configuration = folder / "rsyslog.conf"
    values = {"WORK": str(folder), "LOGS": str(log_folder), "PORT": str(index.port)}
    configuration.write_text(Template(CONFIGURATION.read_text()).substitute(values))
    command = (program, "-n", "-f", str(configuration), "-i", str(folder / "pid"))
    with (folder / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(*command, stdout=said, stderr=said)
    try:
        yield folder / "no-json"
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30 * SCALE)


def written() -> list[bytes]:
    formatter = logs.JsonFormatter("test")
    made = []
    for number in range(LINES):
        extra = {"event": "made", "count": number, "board": TEXTS[number % len(TEXTS)], "unknown": {"a": [1, 2]}}
        record = logging.getLogger("test").makeRecord(
            "test", 20, "f", 1, TEXTS[number % len(TEXTS)], (), None, None, extra
        )
        made.append(formatter.format(record).encode())
    return made


async def test_every_line_comes_whole_and_a_foreign_one_stops_nothing(tmp_path: Path) -> None:
    log_folder, work = tmp_path / "logs", tmp_path / "work"
    log_folder.mkdir()
    work.mkdir()
    lines = written()
    half = len(lines) // 2
    log = log_folder / "score_svc.log"
    log.write_bytes(b"\n".join([*lines[:half], NO_JSON.encode(), b""]))
    async with indexing() as index, shipping(index, work, log_folder) as no_json:
        await eventually(lambda: len(index.documents) >= half, 60, "the lines that were there")
        with log.open("ab") as more:
            more.write(b"\n".join([*lines[half:], b""]))
        await eventually(lambda: len(index.documents) >= len(lines), 60, "the lines that came later")
        assert sorted(index.documents, key=lambda one: one["count"]) == [json.loads(line) for line in lines]
        assert await eventually(no_json.read_text, 30) == f"{NO_JSON}\n"


def test_the_template_and_its_policy_belong_together() -> None:
    policy = json.loads((Path(__file__).parents[2] / "k8s/base/logging/lifecycle-policy.json").read_text())
    template = logs.template()
    assert template["template"]["settings"]["index.lifecycle.name"] == "scoreboard-logs"
    assert policy["policy"]["phases"]["delete"]["min_age"] == "30d"
    assert template["index_patterns"] == ["scoreboard-logs-*"]
    with pytest.raises(AssertionError):
        check_line(b'{"@timestamp": "2026-11-27T00:00:00Z", "level": "INFO", "service": "x", "message": "m", "new": 1}')
