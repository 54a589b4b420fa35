"""`scoreboard demo` and `verify`: players at a whole mesh, and the proof that everything they did counted once."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.terminal import Terminal
from tests.meshes import Done, Mesh, new_mesh, scoreboard
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)
SUMMARY = re.compile(r"ok (\d+) · refused (\d+) · failed 0 · unknown 0 · p50 \d+\.\d ms · p99 \d+\.\d ms")


async def demo(mesh: Mesh, *arguments: str) -> Done:
    return await scoreboard("demo", "--data", str(mesh.data), *arguments)


async def summary(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    done = await demo(mesh, "--json", *arguments)
    assert done.code == 0, done.out + done.err
    assert done.err == ""
    found: dict[str, Any] = json.loads(done.out)
    return found


def kept_players(mesh: Mesh) -> list[dict[str, str]]:
    players: list[dict[str, str]] = json.loads((mesh.data / "demo-players.json").read_text())
    return players


async def verified(mesh: Mesh) -> Any:
    """What `verify --json` prints; the jobs of other tests may still be on their way at first."""

    async def agrees() -> Any:
        done = await scoreboard("verify", "--json", "--data", str(mesh.data))
        found: dict[str, Any] = json.loads(done.out)
        assert (done.code == 0) == found["ok"] == (not found["differences"])
        assert done.code == 0, found
        return found

    return await eventually(agrees, 30, "that ledger, entries and Redis agree")


async def test_all_that_players_do_counts_and_the_next_run_plays_on_with_them(running: Mesh) -> None:
    before = await verified(running)
    first = await summary(running, "--players", "8", "--seconds", "2")
    assert set(first) == {"ok", "refused", "failed", "unknown", "p50_ms", "p99_ms"}
    assert (first["failed"], first["unknown"]) == (0, 0)
    assert first["ok"] >= 8
    assert 0 < first["p50_ms"] <= first["p99_ms"]
    after = await verified(running)
    assert after["applied"] - before["applied"] == first["ok"]
    names = [player["username"] for player in kept_players(running)]
    assert len(names) >= 8
    assert stat.S_IMODE((running.data / "demo-players.json").stat().st_mode) == 0o600

    second = await summary(running, "--players", "8", "--seconds", "1")
    assert (second["failed"], second["unknown"]) == (0, 0)
    assert [player["username"] for player in kept_players(running)] == names


async def test_people_get_a_table_and_one_line(running: Mesh) -> None:
    done = await demo(running, "--players", "3", "--seconds", "2")
    assert done.code == 0, done.out + done.err
    assert SUMMARY.match(done.out)
    assert "board all · 3 players · over" in done.err
    assert "points" in done.err
    assert "Traceback" not in done.err


async def test_ctrl_c_in_a_terminal_leaves_the_board_and_the_summary(running: Mesh) -> None:
    async with Terminal.running("demo", "--players", "4", "--seconds", "600", "--data", str(running.data)) as terminal:
        await eventually(lambda: re.search(r"ok [1-9]\d* ·", terminal.text()), 60, "a first update on the screen")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ended() == 0
        text = terminal.text()
        assert re.search(r"board all · 4 players · \d+ s left", text)
        assert "board all · 4 players · over" in text
        assert SUMMARY.search(text.rpartition("over")[2])
        assert "Traceback" not in text


async def test_verify_says_that_everything_agrees(running: Mesh) -> None:
    await verified(running)
    done = await scoreboard("verify", "--data", str(running.data))
    assert done.code == 0, done.out + done.err
    assert re.match(r"\d+ updates applied, \d+ refused, \d+ dead letters; \d+ entries in \d+ periods", done.out)
    assert done.out.endswith("ledger = entries = Redis\n")


@pytest.mark.parametrize("command", ["demo", "verify"])
async def test_without_a_mesh_there_is_a_sentence_and_a_cure(command: str, tmp_path: Path) -> None:
    done = await scoreboard(command, "--data", str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        f"No mesh runs under {tmp_path}.",
        "Start it: scoreboard up (with the same --data).",
    ]


async def test_a_damaged_list_of_players_gets_a_sentence_and_a_cure(running: Mesh, tmp_path: Path) -> None:
    shutil.copy2(running.data / "mesh.json", tmp_path)
    (tmp_path / "demo-players.json").write_text("[{")
    done = await scoreboard("demo", "--data", str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"The demo cannot read its players in {tmp_path}/demo-players.json: ")
    assert done.err.splitlines()[1:] == ["Remove it: new ones then sign up."]


async def test_a_gateway_that_does_not_answer_gets_a_sentence_and_a_cure(running: Mesh, tmp_path: Path) -> None:
    noted = json.loads((running.data / "mesh.json").read_text())
    (tmp_path / "mesh.json").write_text(json.dumps(noted | {"gateway": new_mesh(tmp_path).url}))
    done = await scoreboard("demo", "--json", "--data", str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("The demo could not sign its players in: UNAVAILABLE: ")
    assert done.err.splitlines()[1:] == [f"Look at: scoreboard status --data {tmp_path}, and {tmp_path}/logs."]
