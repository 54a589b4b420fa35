"""Describes a board and its periods to clients."""

from datetime import datetime

import asyncpg

from board.catalogue import Board
from board.period_store import list_periods
from board.periods import ALL_TIME, Period, period_at
from scoreboard.v1 import leaderboard_pb2 as pb

PERIODS_MAX = 100  # three months of days, two years of weeks


async def describe(
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", board: Board, now: datetime
) -> pb.Board:
    """Returns a board with its newest periods, the current one among them though nobody scored in it yet."""
    stored = await list_periods(connection, board.board_id, PERIODS_MAX)
    current = period_at(board.period, board.zone, now)
    periods = [row.period for row in stored]
    if current not in periods:
        periods.insert(0, current)
    return pb.Board(
        name=board.name,
        operator=board.operator.name.lower(),
        period_kind=board.period.name.lower(),
        periods=[_describe_period(period, now) for period in periods],
    )


def _describe_period(period: Period, now: datetime) -> pb.Period:
    if period == ALL_TIME:
        return pb.Period(label=period.label)
    ends_at, starts_at = (instant.strftime("%Y-%m-%dT%H:%M:%SZ") for instant in (period.end, period.start))
    return pb.Period(label=period.label, starts_at=starts_at, ends_at=ends_at, closed=period.end <= now)
