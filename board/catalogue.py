"""Decides what a catalogue is: the actions with their points and limits, and the boards that these feed.

Pure: reads the text of scoreboard.toml, compares two catalogues. board/catalogue_store.py keeps them in Postgres.
Holds always: there is a board `all` (sum, without periods, of all actions), whose entry is the player's score; and
what a board counts never changes, so that its entries stay a fold of the ledger.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from board.entry import Operator
from board.periods import Period, PeriodKind, period_at

POINTS_MAX = 1_000_000_000  # a player reaches the limit of scores, 2^53, after nine million of the largest updates
DEFAULT_BOARD = "all"
_UTC = ZoneInfo("UTC")


class CatalogueError(ValueError):
    """The file is not a catalogue, or not one that may follow the present one. Says which key, and why."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a player may do, and what that is worth."""

    action_id: str
    points: int  # 0 where the reporter sends a value, which then are the points
    server_only: bool = False
    value_min: int | None = None
    value_max: int | None = None
    cooldown: timedelta | None = None
    cap_count: int | None = None
    cap_window: timedelta | None = None  # windows of this length from 1970 on: a day's are the UTC days
    enabled: bool = True

    @property
    def takes_value(self) -> bool:
        """Whether its reporter sends the points, within value_min and value_max."""
        return self.value_min is not None

    def cap_window_start(self, instant: datetime) -> datetime:
        """Returns where the window of `cap_count` began; the instant itself for an action without a cap."""
        if self.cap_window is None:
            return instant
        return instant - (instant - datetime(1970, 1, 1, tzinfo=instant.tzinfo)) % self.cap_window


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRule:
    """A ranking as the file describes it."""

    name: str
    operator: Operator = Operator.SUM
    period: PeriodKind = PeriodKind.NONE
    zone: ZoneInfo = _UTC
    actions: frozenset[str] | None = None  # None: all
    grace: timedelta = timedelta(minutes=15)
    keep: timedelta | None = None  # None: closed periods are kept

    def period_at(self, instant: datetime) -> Period:
        """Returns the period of this board in which the instant lies."""
        return period_at(self.period, self.zone, instant)

    def closes_at(self, period: Period) -> datetime | None:
        """Returns until when the period takes late updates; None: for ever."""
        return None if self.period is PeriodKind.NONE else period.end + self.grace


@dataclass(frozen=True, slots=True, kw_only=True)
class Board(BoardRule):
    """A ranking as the database knows it. revision: the first whose ledger rows it counts."""

    board_id: int
    revision: int


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """What scoreboard.toml says."""

    actions: Mapping[str, Action]
    boards: Mapping[str, BoardRule]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What holds now. revision: every ledger row carries the one that it was decided by."""

    revision: int = 0
    actions: Mapping[str, Action] = field(default_factory=dict)
    boards: Mapping[str, Board] = field(default_factory=dict)


def parse(text: str) -> CatalogueFile:
    """Reads the text of scoreboard.toml. Raises CatalogueError that names the line or the key at fault."""
    try:
        tree = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(str(error)) from error
    except ValidationError as error:
        raise CatalogueError("\n".join(_sentence(detail) for detail in error.errors())) from error
    actions = {name: shape.build(name) for name, shape in tree.actions.items()}
    for board, board_shape in tree.boards.items():
        for action in board_shape.actions or ():
            if action not in actions:
                raise CatalogueError(f"boards.{board}.actions: there is no action {action}")
    return CatalogueFile(actions, {name: shape.build(name) for name, shape in tree.boards.items()})


def diff(now: Catalogue, file: CatalogueFile) -> tuple[str, ...]:
    """Returns what applying the file changes, a line each; none: nothing.

    Raises CatalogueError where it would change what an existing board counts.
    """
    lines = []
    for name, action in file.actions.items():
        if name not in now.actions:
            lines.append(f"+ action {name}: {_describe(action, Action(name, 0)) or 'points 0'}")
        elif now.actions[name] != action:
            lines.append(f"~ action {name}: {_describe(action, now.actions[name])}")
    for name, known in now.actions.items():
        if name not in file.actions and known.enabled:
            lines.append(f"- action {name}: switched off")
    for name, rule in file.boards.items():
        if name not in now.boards:
            lines.append(f"+ board {name}: {_describe(rule, BoardRule(name=name)) or 'sum, of all time'}")
        elif changed := _describe(rule, _check_same_count(now.boards[name], rule)):
            lines.append(f"~ board {name}: {changed}")
    return tuple(lines)


def _check_same_count(known: Board, rule: BoardRule) -> Board:
    for part in ("operator", "period", "zone", "actions"):
        if getattr(known, part) != getattr(rule, part):
            raise CatalogueError(
                f"boards.{rule.name}.{'time_zone' if part == 'zone' else part}: what a board counts stays as it is; "
                "describe a new board under a new name"
            )
    return known


def _describe(new: Action | BoardRule, old: Action | BoardRule) -> str:
    parts = []
    for name in type(new).__dataclass_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            parts.append(f"{name} {_show(before)} → {_show(after)}")
    return ", ".join(parts)


def _show(value: object) -> str:
    match value:
        case None:
            return "none"
        case Operator() | PeriodKind():
            return value.name.lower()
        case frozenset():
            return "[" + ", ".join(sorted(value)) + "]"
        case _:
            return str(value)


def _sentence(detail: Mapping[str, object]) -> str:
    location = detail["loc"]
    assert isinstance(location, tuple)
    return f"{'.'.join(map(str, location)) or 'the file'}: {str(detail['msg']).removeprefix('Value error, ')}"


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,50}$")]  # safe in keys, URLs, logs and signatures
_Points = Annotated[int, Field(ge=-POINTS_MAX, le=POINTS_MAX, strict=True)]
_Seconds = Annotated[int, Field(gt=0, le=366 * 86_400, strict=True)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ActionShape(_Shape):
    points: _Points | None = None
    reporter: Literal["player", "server"] = "player"
    value_min: _Points | None = None
    value_max: _Points | None = None
    cooldown_s: _Seconds | None = None
    cap_count: Annotated[int, Field(gt=0, le=1_000_000, strict=True)] | None = None
    cap_window_s: _Seconds | None = None
    enabled: Annotated[bool, Field(strict=True)] = True

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.value_min is None) != (self.value_max is None):
            raise ValueError("value_min and value_max come together")
        if (self.cap_count is None) != (self.cap_window_s is None):
            raise ValueError("cap_count and cap_window_s come together")
        if (self.points is None) == (self.value_min is None):
            raise ValueError("either points, or value_min and value_max")
        if self.value_min is not None and self.value_max is not None:
            if self.value_min > self.value_max:
                raise ValueError("value_min lies above value_max")
            if self.reporter != "server":
                raise ValueError('a value is believed of servers alone: reporter = "server"')
        return self

    def build(self, action_id: str) -> Action:
        return Action(
            action_id,
            self.points or 0,
            self.reporter == "server",
            self.value_min,
            self.value_max,
            _span(self.cooldown_s),
            self.cap_count,
            _span(self.cap_window_s),
            self.enabled,
        )


class _BoardShape(_Shape):
    operator: Literal["sum", "best", "last"] = "sum"
    period: Literal["none", "day", "week", "month"] = "none"
    time_zone: str = "UTC"
    actions: list[_Name] | None = None
    grace_s: _Seconds = 900
    keep_s: Annotated[int, Field(gt=0, strict=True)] | None = None

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name!r}") from None

    def build(self, name: str) -> BoardRule:
        return BoardRule(
            name=name,
            operator=Operator[self.operator.upper()],
            period=PeriodKind[self.period.upper()],
            zone=ZoneInfo(self.time_zone),
            actions=None if self.actions is None else frozenset(self.actions),
            grace=timedelta(seconds=self.grace_s),
            keep=_span(self.keep_s),
        )


class _File(_Shape):
    actions: dict[_Name, _ActionShape]
    boards: dict[_Name, _BoardShape]

    @model_validator(mode="after")
    def _has_all(self) -> Self:
        board = self.boards.get(DEFAULT_BOARD)
        if board is None or (board.operator, board.period, board.actions) != ("sum", "none", None):
            raise ValueError(
                "boards.all: the board whose entry is a player's score; must be a sum without period, of all actions"
            )
        return self


def _span(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
