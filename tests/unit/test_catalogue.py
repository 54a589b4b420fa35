"""board/catalogue.py: what a catalogue may say, and what may follow another."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from board.catalogue import Action, Board, Catalogue, CatalogueError, CatalogueFile, diff, parse
from board.entry import Operator
from board.periods import PeriodKind

DEFAULT = Path(__file__).parents[2] / "scoreboard.toml"
ALL = "[boards.all]\n"


def _known(file: CatalogueFile) -> Catalogue:
    boards = {
        name: Board(
            **{
                part: getattr(rule, part) for part in ("name", "operator", "period", "zone", "actions", "grace", "keep")
            },
            board_id=number,
            revision=1,
        )
        for number, (name, rule) in enumerate(file.boards.items(), start=1)
    }
    return Catalogue(1, file.actions, boards)


def test_the_default_file_has_the_boards_and_actions_of_the_contract() -> None:
    file = parse(DEFAULT.read_text())
    assert {name: rule.period for name, rule in file.boards.items()} == {
        "all": PeriodKind.NONE,
        "daily": PeriodKind.DAY,
        "weekly": PeriodKind.WEEK,
    }
    assert file.actions == {
        "win-round": Action("win-round", 50),
        "collect-coin": Action("collect-coin", 1),
        "daily-bonus": Action("daily-bonus", 100, cap_count=1, cap_window=timedelta(days=1)),
        "match-result": Action("match-result", 0, server_only=True, value_min=10, value_max=500),
    }
    assert file.actions["match-result"].takes_value
    assert not file.actions["win-round"].takes_value


def test_an_equal_file_changes_nothing() -> None:
    file = parse(DEFAULT.read_text())
    assert diff(_known(file), file) == ()
    assert len(diff(Catalogue(), file)) == 7


def test_a_diff_says_what_changes() -> None:
    known = _known(parse(ALL + "[actions.a]\npoints = 1\n[actions.b]\npoints = 2\n[boards.day]\nperiod = 'day'\n"))
    file = parse(
        ALL + "[actions.a]\npoints = 3\n[actions.c]\npoints = 4\n[boards.day]\nperiod = 'day'\ngrace_s = 60\n"
        "[boards.best]\noperator = 'best'\nactions = ['a']\n"
    )
    assert diff(known, file) == (
        "~ action a: points 1 → 3",
        "+ action c: points 0 → 4",
        "- action b: switched off",
        "~ board day: grace 0:15:00 → 0:01:00",
        "+ board best: operator sum → best, actions none → [a]",
    )
    assert file.boards["best"].operator is Operator.BEST


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("operator = 'best'", "operator"),
        ("period = 'week'", "period"),
        ("actions = ['a']", "actions"),
        ("time_zone = 'Asia/Tokyo'", "time_zone"),
    ],
)
def test_what_a_board_counts_cannot_be_changed(change: str, key: str) -> None:
    text = ALL + "[actions.a]\npoints = 1\n[boards.day]\n"
    with pytest.raises(CatalogueError, match=rf"boards\.day\.{key}: what a board counts stays as it is"):
        diff(_known(parse(text)), parse(text + change))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("actions = ", "Invalid value"),
        ("[actions]\n[boards.day]\nperiod = 'day'", "boards.all: the board whose entry is a player's score"),
        (ALL + "period = 'day'\n[actions]", "boards.all: the board whose entry"),
        (ALL, "actions: Field required"),
        (ALL + "[actions.a]\npoints = 1.5", "actions.a.points: Input should be a valid integer"),
        (ALL + "[actions.a]\npoints = '5'", "actions.a.points: Input should be a valid integer"),
        (ALL + "[actions.a]\npoints = 1000000001", "actions.a.points: Input should be less than"),
        (ALL + "[actions.a]\npoint = 5", "actions.a.point: Extra inputs are not permitted"),
        (ALL + "[actions.a]\n", "actions.a: either points, or value_min and value_max"),
        (ALL + "[actions.a]\npoints = 1\nvalue_min = 1\nvalue_max = 2\nreporter = 'server'", "either points"),
        (ALL + "[actions.a]\nvalue_min = 1\nreporter = 'server'", "value_min and value_max come together"),
        (ALL + "[actions.a]\nvalue_min = 3\nvalue_max = 2\nreporter = 'server'", "value_min lies above value_max"),
        (ALL + "[actions.a]\nvalue_min = 1\nvalue_max = 2", "a value is believed of servers alone"),
        (ALL + "[actions.a]\npoints = 1\ncap_count = 1", "cap_count and cap_window_s come together"),
        (ALL + "[actions.a]\npoints = 1\ncooldown_s = 0", "actions.a.cooldown_s: Input should be greater than 0"),
        (ALL + "[actions.'a b']\npoints = 1", "actions.a b"),
        (ALL + f"[actions.{'a' * 51}]\npoints = 1", "String should match pattern"),
        (ALL + "[actions]\n[boards.x]\nactions = ['gone']", "boards.x.actions: there is no action gone"),
        (ALL + "[actions]\n[boards.x]\ntime_zone = 'Mars/Olympus'", "boards.x.time_zone: there is no time zone"),
        (ALL + "[actions]\n[boards.x]\ntime_zone = '../etc/passwd'", "boards.x.time_zone: there is no time zone"),
        (ALL + "[actions]\n[boards.x]\noperator = 'max'", "boards.x.operator: Input should be 'sum', 'best' or 'last'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(text: str, complaint: str) -> None:
    with pytest.raises(CatalogueError) as refusal:
        parse(text)
    assert complaint in str(refusal.value)


def test_a_cap_window_of_a_day_is_the_utc_day() -> None:
    bonus = Action("bonus", 1, cap_count=1, cap_window=timedelta(days=1))
    instant = datetime(2026, 11, 24, 13, 14, 15, 16, tzinfo=UTC)
    assert bonus.cap_window_start(instant) == datetime(2026, 11, 24, tzinfo=UTC)
    assert Action("free", 1).cap_window_start(instant) == instant


def test_a_period_closes_when_its_grace_is_over() -> None:
    board = parse(ALL + "[actions]\n[boards.d]\nperiod = 'day'\ngrace_s = 60").boards["d"]
    period = board.period_at(datetime(2026, 11, 24, 12, tzinfo=UTC))
    assert board.closes_at(period) == datetime(2026, 11, 25, 0, 1, tzinfo=UTC)
    everything = parse(ALL + "[actions]").boards["all"]
    assert everything.closes_at(everything.period_at(datetime.now(UTC))) is None
