"""Another region as leaderboard_svc reads it: asked seldom, remembered while away, never taken for another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import pytest

from board.catalogue import Board
from board.periods import ALL_TIME
from leaderboard_svc import peer as peers
from leaderboard_svc.global_board import GlobalBoards
from leaderboard_svc.peer import Peer
from leaderboard_svc.region import Ahead, RegionAway
from scoreboard.v1 import leaderboard_pb2 as pb
from tests.waiting import SCALE, eventually

Context = grpc.aio.ServicerContext[Any, Any]
Players = dict[str, tuple[int, int]]  # points, and when they were reached (µs)


@dataclass
class Clock:
    """The peers' time."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class OtherRegion:
    """A region's gateway, as far as regions ask each other. code: what every call fails with; None: none does."""

    region: str
    players: Players = field(default_factory=dict)
    code: grpc.StatusCode | None = None
    calls: Counter[str] = field(default_factory=Counter)
    open: asyncio.Event = field(default_factory=asyncio.Event)  # calls wait for it

    async def get_region_top(self, request: pb.GetRegionTopRequest, context: Context) -> pb.GetRegionTopResponse:
        await self._called("top", context)
        rows = [self._row(name) for name in self._ranked()][: request.limit]
        return pb.GetRegionTopResponse(rows=rows, players=len(self.players), region=self.region)

    async def get_region_place(self, request: pb.GetRegionPlaceRequest, context: Context) -> pb.GetRegionPlaceResponse:
        await self._called("place", context)
        if request.user_id not in self.players:
            await _abort(context, grpc.StatusCode.NOT_FOUND)
        ahead = self._ranked().index(request.user_id)
        return pb.GetRegionPlaceResponse(row=self._row(request.user_id), ahead=ahead, region=self.region)

    async def count_ahead(self, request: pb.CountAheadRequest, context: Context) -> pb.CountAheadResponse:
        await self._called("ahead", context)
        asked = (-request.score, request.reached_before_us)
        ahead = sum((-score, at_us) < asked for score, at_us in self.players.values())
        return pb.CountAheadResponse(ahead=ahead, region=self.region)

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """What it answers, by RPC."""
        return {
            name: grpc.unary_unary_rpc_method_handler(
                answer,
                request_deserializer=request.FromString,
                response_serializer=lambda said: said.SerializeToString(),
            )
            for name, answer, request in (
                ("GetRegionTop", self.get_region_top, pb.GetRegionTopRequest),
                ("GetRegionPlace", self.get_region_place, pb.GetRegionPlaceRequest),
                ("CountAhead", self.count_ahead, pb.CountAheadRequest),
            )
        }

    def _ranked(self) -> list[str]:
        return sorted(self.players, key=lambda name: (-self.players[name][0], self.players[name][1]))

    def _row(self, name: str) -> pb.RegionRow:
        score, at_us = self.players[name]
        return pb.RegionRow(user_id=name, username=name.title(), score=score, reached_at_us=at_us)

    async def _called(self, what: str, context: Context) -> None:
        self.calls[what] += 1
        await self.open.wait()
        if self.code is not None:
            await _abort(context, self.code)


async def _abort(context: Context, code: grpc.StatusCode) -> NoReturn:
    await context.abort(code, "as told")
    raise AssertionError("abort raises")


@dataclass
class World:
    """Two regions, each as the other sees it, and what time it is there."""

    clock: Clock
    eu: OtherRegion
    us: OtherRegion
    to_eu: Peer
    to_us: Peer
    board: Board

    @property
    def both(self) -> GlobalBoards:
        """The boards of both, as eu reads them."""
        return GlobalBoards(self.to_eu, (self.to_us,))


@asynccontextmanager
async def _served(region: OtherRegion, clock: Clock) -> AsyncIterator[Peer]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    name = pb.DESCRIPTOR.services_by_name["LeaderboardService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, region.handlers()),))
    await server.start()
    peer = Peer(region.region, f"http://127.0.0.1:{port}", clock)
    try:
        yield peer
    finally:
        await peer.close()
        await server.stop(0)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(peers, "ANSWER_S", 20 * SCALE)  # no test is about a slow machine
    clock = Clock()
    eu = OtherRegion("eu", {"ada": (50, 5), "bo": (20, 1)})
    us = OtherRegion("us", {"cy": (50, 4), "di": (50, 5), "ed": (10, 1)})
    for region in (eu, us):
        region.open.set()
    board = Board(name="all", board_id=1, revision=1)
    async with AsyncExitStack() as stack:
        to_eu, to_us = [await stack.enter_async_context(_served(region, clock)) for region in (eu, us)]
        yield World(clock, eu, us, to_eu, to_us, board)


async def test_all_who_ask_share_a_read_and_it_serves_for_half_a_second(world: World) -> None:
    tops = await asyncio.gather(*(world.to_us.top(world.board, ALL_TIME) for _ in range(20)))
    assert [entry.user_id for entry in tops[0].entries] == ["cy", "di", "ed"]
    assert all(top == tops[0] for top in tops)
    world.clock.now += peers.FRESH_S * 0.9
    top = await world.to_us.top(world.board, ALL_TIME)
    assert top.age_s == pytest.approx(peers.FRESH_S * 0.9)
    assert world.us.calls["top"] == 1
    world.clock.now += peers.FRESH_S
    assert (await world.to_us.top(world.board, ALL_TIME)).age_s == 0
    assert world.us.calls["top"] == 2


async def test_a_region_that_is_away_is_remembered_asked_once_a_pause_and_taken_back(world: World) -> None:
    known = await world.to_us.top(world.board, ALL_TIME)
    world.us.code = grpc.StatusCode.UNAVAILABLE
    world.clock.now += 60
    for _ in range(5):
        top = await world.to_us.top(world.board, ALL_TIME)
        assert (top.entries, top.is_stale, top.age_s) == (known.entries, True, 60)
    assert world.us.calls["top"] == 2
    world.clock.now += peers.PAUSE_S
    await world.to_us.top(world.board, ALL_TIME)
    assert world.us.calls["top"] == 3
    world.us.code = None
    world.clock.now += peers.PAUSE_S
    top = await world.to_us.top(world.board, ALL_TIME)
    assert (top.is_stale, top.age_s) == (False, 0)


async def test_while_it_is_away_one_finds_out_and_nobody_else_waits(world: World) -> None:
    world.us.code = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(RegionAway):
        await world.to_us.ahead(world.board, ALL_TIME, 1, 1)
    world.clock.now += peers.PAUSE_S
    world.us.open.clear()
    probing = asyncio.create_task(world.to_us.ahead(world.board, ALL_TIME, 1, 1))
    await eventually(lambda: world.us.calls["ahead"] == 2, what="the call that finds out")
    with pytest.raises(RegionAway):
        await world.to_us.ahead(world.board, ALL_TIME, 1, 1)
    assert world.us.calls["ahead"] == 2
    world.us.code = None
    world.us.open.set()
    assert await probing == Ahead(3, is_exact=True)


async def test_a_region_that_never_answered_is_missing(world: World) -> None:
    world.us.code = grpc.StatusCode.DEADLINE_EXCEEDED
    top = await world.to_us.top(world.board, ALL_TIME)
    assert (top.entries, top.is_stale, top.age_s) == ((), True, None)


async def test_a_gateway_of_another_region_is_none(world: World) -> None:
    world.us.region = "eu"  # such as our own
    top = await world.to_us.top(world.board, ALL_TIME)
    assert (top.entries, top.is_stale) == ((), True)
    for call in (
        lambda: world.to_us.standing(world.board, ALL_TIME, "cy"),
        lambda: world.to_us.ahead(world.board, ALL_TIME, 1, 1),
    ):
        world.clock.now += peers.PAUSE_S
        with pytest.raises(RegionAway):
            await call()


async def test_a_board_that_a_region_does_not_have_is_empty_there(world: World) -> None:
    world.us.code = grpc.StatusCode.NOT_FOUND
    top = await world.to_us.top(world.board, ALL_TIME)
    assert (top.entries, top.players, top.is_stale) == ((), 0, False)
    assert await world.to_us.standing(world.board, ALL_TIME, "cy") is None
    assert await world.to_us.ahead(world.board, ALL_TIME, 1, 1) == Ahead(0, is_exact=True)


async def test_a_place_is_the_sum_of_what_the_regions_count(world: World) -> None:
    rows, tops = await world.both.top(world.board, ALL_TIME, 10)
    # Equal scores by time; in the same microsecond eu stands before us.
    assert [(region, entry.user_id) for region, entry in rows] == [
        ("us", "cy"),
        ("eu", "ada"),
        ("us", "di"),
        ("eu", "bo"),
        ("us", "ed"),
    ]
    assert [(name, top.players) for name, top in tops] == [("eu", 2), ("us", 3)]
    for rank, (region, entry) in enumerate(rows, start=1):
        place = await world.both.place(world.board, ALL_TIME, entry.user_id)
        assert place is not None
        assert (place.rank, place.region, place.is_exact) == (rank, region, True)
    assert await world.both.place(world.board, ALL_TIME, "nobody") is None


async def test_without_a_region_a_rank_is_at_least_what_is_known_of_it(world: World) -> None:
    await world.both.tops(world.board, ALL_TIME)
    world.us.code = grpc.StatusCode.UNAVAILABLE
    world.clock.now += peers.PAUSE_S
    place = await world.both.place(world.board, ALL_TIME, "bo")
    assert place is not None
    assert (place.rank, place.is_exact) == (4, False)
    with pytest.raises(RegionAway):  # he may be there
        await world.both.place(world.board, ALL_TIME, "nobody")


async def test_what_was_asked_last_is_forgotten_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "TOPS_MAX", 2)
    boards = [Board(name=name, board_id=number, revision=1) for number, name in enumerate("abc")]
    for number in (0, 1, 0, 2):
        await world.to_us.top(boards[number], ALL_TIME)
        world.clock.now += peers.FRESH_S
    world.us.code = grpc.StatusCode.UNAVAILABLE
    ages = [(await world.to_us.top(board, ALL_TIME)).age_s for board in boards]
    assert [age is None for age in ages] == [False, True, False]
