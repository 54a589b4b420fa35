"""leaderboard_svc as a process, over gRPC, on a real Postgres and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
import redis.asyncio

from board import view
from board.catalogue_store import apply_catalogue, load_catalogue
from board.entry import BoardKey
from board.periods import BEGINNING
from scoreboard.client import Client, ScoreboardError, to_error
from scoreboard.v1 import leaderboard_pb2 as pb
from scoreboard.v1 import leaderboard_pb2_grpc
from tests.servers import Database, RedisServer
from tests.services import TREE, serving
from tests.waiting import eventually

T0 = datetime(2026, 11, 24, 12, tzinfo=UTC)
#: name, points, seconds after T0 when they were reached. bo and cleo are even; bo was there first.
PLAYERS = [("ada", 300, 0), ("bo", 200, 1), ("cleo", 200, 2), ("dara", -5, 3)]


@dataclass
class World:
    """A service with the players above on the board `all`, and its servers."""

    boards: Any
    target: str
    pool: asyncpg.Pool
    redis: redis.asyncio.Redis
    all: BoardKey


@pytest.fixture(scope="module")
async def world(
    module_database: Database, module_view: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """One service for all tests: who takes something from the board puts it back."""
    pool = await asyncpg.create_pool(module_database.url(), min_size=1, max_size=2)
    client = redis.asyncio.Redis.from_url(module_view.url())
    async with pool.acquire() as connection:
        await apply_catalogue(connection, (TREE / "scoreboard.toml").read_text())
        catalogue = await load_catalogue(connection)
        key = BoardKey(catalogue.boards["all"].board_id, BEGINNING)
        for name, points, second in PLAYERS:
            ref = await connection.fetchval(
                "INSERT INTO users (user_id, username, username_key) VALUES ($1, $2, $1) RETURNING id",
                f"u_{name}",
                name.title(),
            )
            reached = T0 + timedelta(seconds=second)
            await connection.execute(
                "INSERT INTO board_entries (board_id, period_start, user_ref, score, reached_at)"
                " VALUES ($1, $2, $3, $4, $5)",
                *(*key, ref, points, reached),
            )
    await view.rebuild(pool, client, key)
    environment = {
        "SCOREBOARD_POSTGRES_URL": module_database.url("leaderboard_svc"),
        "SCOREBOARD_REDIS_URL": module_view.url("leaderboard_svc"),
    }
    try:
        async with (
            serving(
                "leaderboard_svc",
                "scoreboard.v1.LeaderboardService",
                "SCOREBOARD_LEADERBOARD_PORT",
                environment,
                tmp_path_factory.mktemp("leaderboard_svc"),
            ) as (_, port),
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            stub = leaderboard_pb2_grpc.LeaderboardServiceStub(channel)
            yield World(stub, f"127.0.0.1:{port}", pool, client, key)
    finally:
        await client.aclose()
        await pool.close()


def shown(answer: pb.GetLeaderboardResponse) -> list[tuple[int, str, str, float]]:
    return [(row.rank, row.user_id, row.username, row.score) for row in answer.leaderboard]


async def refusal(call: Any) -> ScoreboardError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return to_error(error.value)


async def test_equal_scores_rank_by_who_was_first(world: World) -> None:
    await eventually(lambda: _fresh_version(world), what="an answer of Redis")
    answer = await world.boards.GetLeaderboard(pb.GetLeaderboardRequest())
    assert shown(answer) == [
        (1, "u_ada", "Ada", 300),
        (2, "u_bo", "Bo", 200),
        (3, "u_cleo", "Cleo", 200),
        (4, "u_dara", "Dara", -5),
    ]
    assert (answer.board, answer.period, answer.players, answer.stale) == ("all", "all-time", 4, False)


async def test_a_page_begins_after_its_offset(world: World) -> None:
    answer = await world.boards.GetLeaderboard(pb.GetLeaderboardRequest(limit=2, offset=1))
    assert [(row.rank, row.username) for row in answer.leaderboard] == [(2, "Bo"), (3, "Cleo")]


async def test_rank_and_neighbours(world: World) -> None:
    place = await world.boards.GetRank(pb.GetRankRequest(user_id="u_cleo"))
    assert (place.rank, place.username, place.score, place.players, place.approximate) == (3, "Cleo", 200, 4, False)
    around = await world.boards.GetAround(pb.GetAroundRequest(user_id="u_cleo", limit=1))
    assert [(row.rank, row.username) for row in around.leaderboard] == [(2, "Bo"), (3, "Cleo"), (4, "Dara")]


async def test_an_open_period_without_players_is_an_empty_board(world: World) -> None:
    answer = await world.boards.GetLeaderboard(pb.GetLeaderboardRequest(board="daily"))
    assert (shown(answer), answer.players, answer.board) == ([], 0, "daily")


async def test_boards_are_listed_with_their_current_period(world: World) -> None:
    answer = await world.boards.ListBoards(pb.ListBoardsRequest())
    assert [(b.name, b.operator, b.period_kind, len(b.periods)) for b in answer.boards] == [
        ("all", "sum", "none", 1),
        ("daily", "sum", "day", 1),
        ("weekly", "sum", "week", 1),
    ]
    daily = answer.boards[1].periods[0]
    assert (daily.starts_at, daily.closed) == (f"{daily.label}T00:00:00Z", False)


async def test_many_who_list_the_boards_at_once_cost_postgres_one_read(world: World) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'board_periods'::regclass AND NOT granted"
    async with world.pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE board_periods IN ACCESS EXCLUSIVE MODE")
        calls: list[Awaitable[pb.ListBoardsResponse]] = []

        async def one_more_waits() -> object:  # one at first is told what was read for another test
            calls.append(asyncio.ensure_future(world.boards.ListBoards(pb.ListBoardsRequest())))
            return await world.pool.fetchval(waiting)

        await eventually(one_more_waits, what="a read that waits")
        calls += [asyncio.ensure_future(world.boards.ListBoards(pb.ListBoardsRequest())) for _ in range(50)]
        await world.boards.GetLeaderboard(pb.GetLeaderboardRequest())  # behind them, so that all are there
        assert await world.pool.fetchval(waiting) == 1
    answers = await asyncio.gather(*calls)
    assert {len(answer.boards) for answer in answers} == {3}


async def test_the_same_version_has_the_same_etag_and_is_not_sent_again(world: World) -> None:
    call = world.boards.GetLeaderboard(pb.GetLeaderboardRequest())
    version = (await call).version
    headers = dict(tuple(await call.initial_metadata()))
    assert (headers["etag"], headers["cache-control"]) == (f'"{version:.0f}"', "no-cache")
    again = world.boards.GetLeaderboard(pb.GetLeaderboardRequest(), metadata=(("if-none-match", headers["etag"]),))
    assert shown(await again) == []
    assert dict(tuple(await again.initial_metadata()))["x-http-code"] == "304"


async def test_a_lost_view_is_answered_from_postgres_and_the_version_stays(world: World) -> None:
    before = await world.boards.GetLeaderboard(pb.GetLeaderboardRequest())
    await world.redis.flushall()

    async def stale() -> pb.GetLeaderboardResponse | None:
        call = world.boards.GetLeaderboard(pb.GetLeaderboardRequest())
        answer = await call
        assert "etag" not in dict(tuple(await call.initial_metadata())) or not answer.stale
        return answer if answer.stale else None

    answer = await eventually(stale)
    assert answer is not None
    assert shown(answer) == shown(before)
    assert answer.version == before.version
    place = await world.boards.GetRank(pb.GetRankRequest(user_id="u_bo"))
    assert (place.rank, place.score) == (2, 200)
    around = await world.boards.GetAround(pb.GetAroundRequest(user_id="u_bo", limit=1))
    assert [row.rank for row in around.leaderboard] == [1, 2, 3]
    await view.rebuild(world.pool, world.redis, world.all)
    assert await eventually(lambda: _fresh_version(world)) > before.version


async def _fresh_version(world: World) -> float:
    answer = await world.boards.GetLeaderboard(pb.GetLeaderboardRequest())
    return 0.0 if answer.stale else float(answer.version)


WRONG = [
    ("GetLeaderboard", pb.GetLeaderboardRequest(limit=0), "INVALID_ARGUMENT"),
    ("GetLeaderboard", pb.GetLeaderboardRequest(limit=101), "INVALID_ARGUMENT"),
    ("GetLeaderboard", pb.GetLeaderboardRequest(offset=-1), "INVALID_ARGUMENT"),
    ("GetLeaderboard", pb.GetLeaderboardRequest(offset=10_001), "INVALID_ARGUMENT"),
    ("GetLeaderboard", pb.GetLeaderboardRequest(board="nope"), "UNKNOWN_BOARD"),
    ("GetLeaderboard", pb.GetLeaderboardRequest(board="daily", period="yesterday"), "UNKNOWN_BOARD"),
    ("GetLeaderboard", pb.GetLeaderboardRequest(board="daily", period="1999-01-01"), "UNKNOWN_BOARD"),
    ("GetRank", pb.GetRankRequest(user_id="u_nobody"), "UNKNOWN_USER"),
    ("GetRank", pb.GetRankRequest(user_id="u_ada", board="daily"), "UNKNOWN_USER"),
    ("GetRank", pb.GetRankRequest(), "INVALID_ARGUMENT"),
    ("GetAround", pb.GetAroundRequest(user_id="u_ada", limit=51), "INVALID_ARGUMENT"),
    ("GetAround", pb.GetAroundRequest(user_id="u_nobody"), "UNKNOWN_USER"),
]


async def test_what_is_wrong_is_refused_with_its_reason(world: World) -> None:
    met = [(rpc, request, (await refusal(getattr(world.boards, rpc)(request))).reason) for rpc, request, _ in WRONG]
    assert met == WRONG


async def test_bytes_that_are_no_message_are_refused_as_such(world: World) -> None:
    async with grpc.aio.insecure_channel(world.target) as channel:
        call: Any = channel.unary_unary("/scoreboard.v1.LeaderboardService/GetRank")
        error = await refusal(call(b"\xff\xff\xff"))
    assert (error.reason, error.code) == ("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT)


async def test_the_python_client_reads_the_board(world: World) -> None:
    async with Client(world.target) as client:
        assert [row.username for row in (await client.top(2)).leaderboard] == ["Ada", "Bo"]
        assert (await client.rank("u_dara")).rank == 4
