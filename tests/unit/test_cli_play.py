"""The player's commands without a gateway: names in a terminal, where a session is kept, completion, a bare install."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from grpc import StatusCode
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from scoreboard.cli import app, session_file
from scoreboard.cli.live_board import LiveBoard
from scoreboard.cli.player import is_at
from scoreboard.cli.watch import Picture
from scoreboard.client import Row, ScoreboardError, Session, Snapshot
from tests.unit.test_client import of_the_mesh

PLAYER_COMMANDS = ("register", "login", "logout", "update", "top", "boards", "rank", "watch")
MESH_COMMANDS = ("up", "status", "down", "verify", "doctor")


def in_terminal(table: Table) -> str:
    console = Console(width=100, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def shown(board: LiveBoard, me: str = "") -> str:
    return in_terminal(board.render("all", me=me))


def a_snapshot(*rows: tuple[str, int], period: str = "p") -> Snapshot:
    ranked = tuple(Row(rank, f"u_{name}", name, score) for rank, (name, score) in enumerate(rows, 1))
    return Snapshot(ranked, "all", period, 1)


def test_a_name_is_no_markup_and_moves_no_cursor() -> None:
    board = LiveBoard()
    board.take(a_snapshot(("[red]x[/red]", 2), ("a\x1b[2Jb\x07", 1)))
    text = shown(board)
    assert "[red]x[/red]" in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text


def test_what_was_gained_is_lit_within_a_period_only() -> None:
    board = LiveBoard()
    board.take(a_snapshot(("ada", 100), ("bo", 50)))
    board.take(a_snapshot(("bo", 1150), ("ada", 100)))
    assert "+1100" in shown(board)
    assert "1,150" in shown(board, me="u_bo")
    assert "you" in shown(board, me="u_ada")
    board = LiveBoard()
    board.take(a_snapshot(("ada", 1), period="monday"))
    board.take(a_snapshot(("ada", 5), period="tuesday"))
    assert "+" not in shown(board)


def test_a_live_table_says_how_it_is() -> None:
    picture = Picture("u_ada")
    assert "connecting" in in_terminal(picture.render())
    picture.take(a_snapshot(("ada", 100)))
    assert "live · Ctrl-C ends" in in_terminal(picture.render())
    picture.tell(ScoreboardError("", "the way broke", StatusCode.UNAVAILABLE))
    assert "may be old, connecting again (UNAVAILABLE)" in in_terminal(picture.render())
    picture.tell(None)
    assert "live" in in_terminal(picture.render())


@pytest.mark.parametrize("lines", [12, 40])
def test_a_board_longer_than_the_screen_leaves_room_for_its_caption(lines: int) -> None:
    picture = Picture("u_ada")
    picture.take(a_snapshot(*((f"p{number}", 1000 - number) for number in range(100))))
    text = in_terminal(picture.render(lines))
    assert "live · Ctrl-C ends" in text
    assert lines - 3 <= len(text.splitlines()) < lines


@pytest.mark.parametrize(
    ("variable", "folder"), [("/var/state", "/var/state"), ("", "~/.local/state"), ("relative", "~/.local/state")]
)
def test_the_session_is_in_the_user_s_state_folder(variable: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", variable)
    assert session_file.path() == Path(folder).expanduser() / "scoreboard" / "session.json"


def test_commands_that_renew_the_session_at_once_leave_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    sessions = [Session(access_token=f"{number}" * 50_000) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(session_file.keep, (session_file.Kept("g", "ada", session) for session in sessions * 4)))
    kept = session_file.read()
    assert kept is not None
    assert kept.session in sessions
    assert [file.name for file in session_file.path().parent.iterdir()] == ["session.json"]
    assert stat.S_IMODE(session_file.path().stat().st_mode) == 0o600
    session_file.forget()
    assert session_file.read() is None


@pytest.mark.parametrize(
    ("kept", "given", "same"),
    [
        ("http://localhost:8080", "http://localhost:8080/", True),
        ("http://LocalHost:8080", "localhost:8080", True),
        ("https://game.example", "game.example:443", True),
        ("http://[::1]:80", "http://[::1]", True),
        ("http://localhost:8080", "http://localhost:8081", False),
        ("http://localhost:8080", "https://localhost:8080", False),
        ("http://localhost:8080", "http://127.0.0.1:8080", False),
        ("http://localhost:8080", "ftp://localhost:8080", False),
        ("ftp://localhost", "ftp://localhost", False),
    ],
)
def test_a_gateway_is_the_same_however_its_address_is_written(kept: str, given: str, same: bool) -> None:
    assert is_at(session_file.Kept(kept, "ada", Session()), given) is same


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("top", "--limit", "0"), "--limit"),
        (("top", "--limit", "101"), "--limit"),
        (("top", "--offset", "10001"), "--offset"),
        (("rank", "--around", "51"), "--around"),
        (("watch", "--count", "-1"), "--count"),
        (("update",), "ACTION"),
        (("login",), "NAME"),
    ],
    ids=" ".join,
)
def test_what_is_out_of_range_is_a_mistake(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert result.exit_code == 2
    assert said in result.output


#: `scoreboard …` where only what every player has is installed.
BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
names = set(sys.argv.pop().split(","))
sys.meta_path.insert(0, Absent())
from scoreboard.cli import main
sys.argv[0] = "scoreboard"
main()
"""


def bare(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    absent = ",".join(sorted(of_the_mesh()))
    env = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"} | environment
    argv = [sys.executable, "-c", BARE, *arguments, absent]
    return subprocess.run(argv, capture_output=True, text=True, env=env, check=False)


def test_without_the_mesh_players_have_their_commands_and_the_others_say_what_they_need(tmp_path: Path) -> None:
    listed = bare("--help")
    assert (listed.returncode, listed.stderr) == (0, "")
    for command in (*PLAYER_COMMANDS, *MESH_COMMANDS):
        assert f" {command} " in listed.stdout
    nobody = bare("rank", "--gateway", "http://127.0.0.1:1", XDG_STATE_HOME=str(tmp_path))
    assert nobody.stderr.startswith("You are not logged in at http://127.0.0.1:1.\n")
    refused = bare("status", "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("This command needs the package psutil, which is not installed.\n")


def completed(words: str) -> list[str]:
    count = len(words.split(" ")) - 1
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(count), "_SCOREBOARD_COMPLETE": "complete_bash"}
    done = bare(**environment)
    return done.stdout.split()


def test_a_shell_completes_commands_and_options() -> None:
    assert completed("scoreboard wat") == ["watch"]
    assert {"--limit", "--board", "--json"} <= set(completed("scoreboard top --"))
