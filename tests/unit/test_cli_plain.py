"""What others wrote cannot command the terminal of whoever looks at it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from scoreboard import cli
from scoreboard.cli import explain, live_board, user
from scoreboard.cli.plain import printable
from scoreboard.local.trouble import Trouble
from scoreboard.v1 import admin_pb2

#: Sets a terminal's title, clears it, goes up a line, and the same begun by a single C1 character.
HOSTILE = "ada\x1b]0;owned\x07\x1b[2J\r\x1b[A\x9b2J\u202e"


def is_harmless(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text) and "ada" in text


def test_no_control_character_is_printed() -> None:
    assert printable(HOSTILE) == "ada�]0;owned��[2J��[A�2J�"
    assert printable("two\nlines of Zoë 日本") == "two\nlines of Zoë 日本"


def test_a_players_name_is_printed_without_them() -> None:
    player: Any = SimpleNamespace(
        username=HOSTILE, user_id="u", user_ref=1, state="active", role="player", score=0, sessions=0,
        created_at=datetime.now(UTC),
    )  # fmt: skip
    assert is_harmless(explain._who(player))
    assert is_harmless(user._name(admin_pb2.AdminUser(username=HOSTILE, user_id="u")))
    assert is_harmless(live_board.plain(HOSTILE).plain)


def test_a_servers_words_are_printed_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise Trouble(HOSTILE, "Ask somebody else.")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["scoreboard"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert is_harmless(capsys.readouterr().err)
