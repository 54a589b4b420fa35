"""The player's commands at a whole mesh: a session that is kept and never shown, scores, boards, a table that moves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from scoreboard.cli import session_file
from scoreboard.client import Session, SyncClient
from tests.e2e.commands import cli, told
from tests.e2e.terminal import Terminal
from tests.meshes import Done, Mesh, new_mesh
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(120 * SCALE)
PASSWORD = "correct horse battery staple"


class Home:
    """A user's place for a session, and the gateway's address."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.environment = {"XDG_STATE_HOME": str(folder), "SCOREBOARD_GATEWAY": mesh.url}
        self.file = folder / "scoreboard" / "session.json"
        self.name = f"cli-{secrets.token_hex(6)}"

    async def run(self, *arguments: str, typed: str | None = None, **environment: str) -> Done:
        return await cli(None, *arguments, typed=typed, **(self.environment | environment))

    async def says(self, *arguments: str, typed: str | None = None) -> str:
        done = await self.run(*arguments, typed=typed)
        assert (done.code, done.err) == (0, "")
        assert self.kept()["session"]["access_token"] not in done.out
        return done.out

    async def told(self, *arguments: str) -> Any:
        return await told(None, *arguments, **self.environment)

    def kept(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found


@pytest.fixture
async def home(running: Mesh, tmp_path: Path) -> Home:
    """A user who has made an account on the command line."""
    home = Home(running, tmp_path)
    said = await home.says("register", home.name, "--password-file", "-", typed=PASSWORD + "\n")
    assert re.fullmatch(rf"{home.name} \(u_\w+\) is logged in at {running.url}\.\n", said)
    return home


async def test_the_session_is_the_user_s_own_and_ends_with_logout(home: Home) -> None:
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.file.parent.stat().st_mode) == 0o700
    assert "access" not in repr(session_file.Kept("g", "n", Session(access_token="access")))
    assert await home.says("update", "win-round") == f"win-round counts +50: {home.name} has 50 points.\n"
    kept = home.kept()
    done = await home.run("logout")
    assert (done.code, done.out) == (0, f"{home.name} is logged out.\n")
    assert not home.file.exists()
    for command in (("logout",), ("update", "win-round"), ("rank",), ("watch", "--me", "--count", "1")):
        done = await home.run(*command)
        assert (done.code, done.out) == (1, "")
        assert re.match(r"You are not logged in.*\.\nLog in: scoreboard login NAME", done.err)
    home.file.write_text(json.dumps(kept))
    done = await home.run("update", "win-round")
    assert done.err.startswith("This session was ended: log in again.\nLog in: scoreboard login NAME")


async def test_tokens_that_are_over_are_renewed_and_kept(home: Home, running: Mesh) -> None:
    old = home.kept()
    old["session"]["server_time"] -= 1_000_000
    home.file.write_text(json.dumps(old))
    assert (await home.told("update", "win-round"))["new_score"] == 50
    renewed = home.kept()
    assert renewed["session"]["refresh_token"] != old["session"]["refresh_token"]
    assert (renewed["username"], renewed["gateway"]) == (home.name, running.url)
    assert (await home.told("update", "collect-coin"))["new_score"] == 51
    assert home.kept() == renewed


async def test_a_session_is_shown_to_no_other_gateway(home: Home, running: Mesh) -> None:
    other = running.url.replace("127.0.0.1", "localhost")
    done = await home.run("update", "win-round", "--gateway", other)
    assert done.err.startswith(f"You are not logged in at {other}.\n")
    same = running.url.removeprefix("http://") + "/"
    assert (await home.told("update", "win-round", "--gateway", same))["new_score"] == 50
    del home.environment["SCOREBOARD_GATEWAY"]  # from now on it is where one is logged in
    assert (await home.told("update", "collect-coin"))["new_score"] == 51


async def test_a_login_takes_the_place_of_another(home: Home, running: Mesh, tmp_path: Path) -> None:
    user_id = home.kept()["session"]["user_id"]
    (tmp_path / "password").write_text(PASSWORD)
    in_file = ("--password-file", str(tmp_path / "password"))
    assert await home.told("login", home.name, *in_file) == {
        "user_id": user_id,
        "username": home.name,
        "gateway": running.url,
    }
    kept = home.kept()
    wrong = await home.run("login", home.name, "--password-file", "-", typed="no such password\n")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.splitlines()[1].endswith("scoreboard register NAME makes an account.")
    taken = await home.run("register", home.name, *in_file)
    assert taken.err.splitlines()[1] == "Choose another name, or log in: scoreboard login NAME."
    assert home.kept() == kept
    mute = await home.run("login", home.name)
    assert mute.err == "There is no terminal to ask for a password.\nGive --password-file FILE (- is stdin).\n"


async def test_boards_top_and_rank_agree(home: Home) -> None:
    update = await home.told("update", "daily-bonus")
    assert (update["status"], update["points"], update["reason"]) == ("APPLIED", 100, "")
    place = await home.told("rank", "--board", "daily", "--around", "1")
    assert (place["score"], place["username"], place["board"]) == (100, home.name, "daily")
    assert [row["rank"] for row in place["around"] if row["user_id"] == place["user_id"]] == [place["rank"]]
    row = {key: place[key] for key in ("rank", "user_id", "username", "score")}
    page = await home.told("top", "--board", "daily", "--offset", str(place["rank"] - 1), "--limit", "1")
    assert (page["leaderboard"], page["period"]) == ([row], place["period"])
    boards = {board["name"]: board for board in (await home.told("boards"))["boards"]}
    assert boards["daily"]["periods"][0]["label"] == place["period"]

    shown = await home.says("rank", place["user_id"], "--board", "daily", "--around", "1")
    assert shown.startswith(f"{home.name}: place {place['rank']:,} of ")
    assert re.search(rf"{place['rank']} +{home.name} +100 +you", shown)
    table = await home.says("top", "--board", "daily", "--offset", str(place["rank"] - 1), "--limit", "1")
    assert re.search(rf"daily · {place['period']}\s.* {home.name} +100 +you", table, re.DOTALL)
    assert re.search(r"weekly +│ sum +│ \d{4}-W\d\d", await home.says("boards"))


async def test_a_refusal_is_a_sentence_and_what_to_do(home: Home) -> None:
    await home.says("update", "daily-bonus")
    capped = await home.run("update", "daily-bonus", "--json")
    assert (capped.code, capped.out) == (1, "")
    assert re.fullmatch(r"This action counts only so often in its window.*\nTry again in \d+ s\.\n", capped.err)
    unknown = await home.run("update", "fly")
    assert unknown.err.splitlines()[1] == "Whoever runs this scoreboard knows the actions of its catalogue."
    assert (await home.run("rank", "u_nobody")).err.splitlines()[1].startswith("Give the user id that boards show")
    assert (await home.run("top", "--board", "no")).err.splitlines()[1].startswith("scoreboard boards lists")


async def test_an_update_without_an_answer_is_settled_by_its_nonce(
    home: Home, breakable: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoreboard.cli.player.DEADLINE_S", 0.5)
    pid = breakable.pid("score_svc")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        lost = await home.run("update", "win-round")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert lost.code == 1
    assert lost.err.startswith("It is unknown whether win-round counted. ")
    monkeypatch.setattr("scoreboard.cli.player.DEADLINE_S", 60 * SCALE)
    settle = lost.err.splitlines()[1].removeprefix("Settle it: scoreboard ").split()
    for _ in range(2):
        assert await home.says(*settle) == f"win-round counts +50: {home.name} has 50 points.\n"


async def test_a_gateway_that_is_away_or_is_none_gets_a_sentence_and_a_cure(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoreboard.cli.player.DEADLINE_S", 0.5)
    away = new_mesh(tmp_path).url
    done = await home.run("top", SCOREBOARD_GATEWAY=away)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"The gateway {away} does not answer: ")
    done = await home.run("top", "--gateway", "ftp://a")
    assert done.err.startswith("'ftp://a' is no gateway's address")
    home.file.write_text("{")
    done = await home.run("top")
    assert done.err.startswith("The kept session cannot be read: ")
    assert done.err.splitlines()[1] == f"Remove {home.file}, then log in again."


async def test_watch_prints_a_line_of_json_for_each_change(home: Home, running: Mesh) -> None:
    watching = asyncio.create_task(home.run("watch", "--json", "--me", "--count", "2", "--limit", "1"))
    with SyncClient(running.url) as client:
        client.resume(json_format.ParseDict(home.kept()["session"], Session()))

        async def has_ended() -> bool:
            await asyncio.to_thread(client.score, "collect-coin")
            return watching.done()

        await eventually(has_ended, 30, "the second board")
    done = await watching
    assert (done.code, done.err) == (0, "")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert second["version"] >= first["version"]
    assert second["me"]["score"] > first["me"]["score"]
    assert len(first["leaderboard"]) == 1


async def test_a_pipe_gets_each_board_below_the_other(home: Home) -> None:
    done = await home.run("watch", "--count", "1", "--limit", "1")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"all · all-time\s+# +player +points", done.out)
    assert "live · Ctrl-C ends" in done.out


async def test_in_a_terminal_the_password_is_hidden_and_the_table_moves(
    home: Home, running: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    async with Terminal.running("login", home.name) as terminal:
        await eventually(lambda: "Password: " in terminal.text(), 30, "the question")
        terminal.type(PASSWORD)
        assert await terminal.ended() == 0
        assert f"is logged in at {running.url}." in terminal.text()
        assert PASSWORD not in terminal.text()

    async with Terminal.running("watch", "--limit", "100", "--me", "--board", "daily") as terminal:
        await eventually(lambda: "live · " in terminal.text(), 30, "a first board")
        await home.says("update", "daily-bonus")
        await eventually(lambda: re.search(r"you: place \d+, 100 points", terminal.text()), 30, "the own place")
        await home.says("update", "win-round")
        # The row itself may stand below the screen: other tests' players share the board.
        await eventually(lambda: re.search(r"you: place \d+, 150 points", terminal.text()), 30, "what was gained")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ended() == 0
        assert "Traceback" not in terminal.text()
