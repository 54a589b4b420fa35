"""LeaderboardService: proto in, a page or a place, proto out."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import asyncpg
import orjson
from google.protobuf.message import Message

from board import read
from board.catalogue import Board
from board.catalogue_cache import CatalogueCache
from board.entry import BoardKey
from board.order import SCORE_MAX
from board.periods import Period, select_period
from board.reading import BoardReading
from leaderboard_svc import page as paging
from leaderboard_svc.boards import describe
from leaderboard_svc.global_board import GlobalBoards
from leaderboard_svc.home import Home
from leaderboard_svc.page import Page
from leaderboard_svc.region import TOP_MAX, Entry, Region, RegionAway, Top
from leaderboard_svc.snapshots import Answer, Snapshots
from mesh.call import Call
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.rpc import PUBLIC
from scoreboard.v1 import leaderboard_pb2 as pb
from scoreboard.v1.common_pb2 import Row

ACCESS = {method.name: PUBLIC for method in pb.DESCRIPTOR.services_by_name["LeaderboardService"].methods}
NOT_MODIFIED = "304"
SELECTORS = ("", "current", "previous")


class LeaderboardService:
    """Answers LeaderboardService's calls."""

    def __init__(
        self,
        reading: BoardReading,
        catalogue: CatalogueCache,
        pool: asyncpg.Pool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        region: str = "main",
        peers: Sequence[Region] = (),
    ) -> None:
        self._reading = reading
        self._home = Home(region, reading)
        self._all_regions = GlobalBoards(self._home, peers)
        self._catalogue = catalogue
        self._pool = pool
        self._clock = clock
        self._snapshots: Snapshots[Answer] = Snapshots()

    async def get_leaderboard(self, request: pb.GetLeaderboardRequest, call: Call) -> bytes | Message:
        """See leaderboard.proto."""
        answer = await self.top(paging.page_of(request))
        call.answer["cache-control"] = "no-cache"
        if answer.etag is None:
            return answer.body
        call.answer["etag"] = answer.etag
        if answer.etag in call.metadata.get("if-none-match", ""):
            call.answer["x-http-code"] = NOT_MODIFIED
            return b""
        return answer.body

    async def top(self, page: Page) -> Answer:
        """Returns a page of a board. Raises Refused(UNKNOWN_BOARD, LEADERBOARD_UNAVAILABLE)."""
        board, period = await self._find(page.board, page.period)
        key = (board.board_id, period.start, page.offset, page.limit)
        return await self._snapshots.get(key, lambda: self._read_top(board, period, page))

    async def get_rank(self, request: pb.GetRankRequest, call: Call) -> pb.GetRankResponse:
        """See leaderboard.proto."""
        user_id = paging.user_of(request.user_id)
        board, period = await self._find(paging.board_of(request.board), request.period)
        with _unavailable():
            place, _ = await self._reading.place(_key(board, period), user_id)
        if place is None:
            raise _unknown_user(user_id, board)
        return pb.GetRankResponse(
            rank=place.row.rank,
            user_id=place.row.user_id,
            username=place.row.username,
            score=place.row.score,
            approximate=place.approximate,
            players=place.players,
            board=board.name,
            period=period.label,
        )

    async def get_around(self, request: pb.GetAroundRequest, call: Call) -> pb.GetLeaderboardResponse:
        """See leaderboard.proto."""
        user_id, each_side = paging.user_of(request.user_id), paging.neighbours_of(request)
        board, period = await self._find(paging.board_of(request.board), request.period)
        with _unavailable():
            page, stale = await self._reading.around(_key(board, period), user_id, each_side)
        if page is None:
            raise _unknown_user(user_id, board)
        return _leaderboard(board, period, page, stale)

    async def list_boards(self, request: pb.ListBoardsRequest, call: Call) -> bytes:
        """See leaderboard.proto. Anyone may ask, and Postgres answers: so all who ask at once share one answer."""
        return (await self._snapshots.get("boards", self._read_boards)).body

    async def get_global_leaderboard(self, request: pb.GetGlobalLeaderboardRequest, call: Call) -> bytes:
        """See leaderboard.proto."""
        limit = paging.limit_of(request)
        board, period = await self._find(paging.board_of(request.board), request.period)
        key = ("all regions", board.board_id, period.start, limit)
        return (
            await self._snapshots.get(key, lambda: self._read_all_regions(board, period, request.period, limit))
        ).body

    async def get_global_rank(self, request: pb.GetGlobalRankRequest, call: Call) -> pb.GetGlobalRankResponse:
        """See leaderboard.proto."""
        user_id = paging.user_of(request.user_id)
        board, period = await self._find(paging.board_of(request.board), request.period)
        with _unavailable():
            place, tops = await asyncio.gather(
                self._all_regions.place(board, period, user_id), self._all_regions.tops(board, period)
            )
        if place is None:
            raise _unknown_user(user_id, board)
        parts = _parts(tops)
        return pb.GetGlobalRankResponse(
            rank=place.rank,
            user_id=place.entry.user_id,
            username=place.entry.username,
            score=place.entry.score,
            region=place.region,
            approximate=not place.is_exact,
            players=sum(part.players for part in parts),
            board=board.name,
            period=period.label,
            regions=parts,
        )

    async def get_region_top(self, request: pb.GetRegionTopRequest, call: Call) -> pb.GetRegionTopResponse:
        """See leaderboard.proto."""
        limit = paging.between("limit", request.limit, 1, TOP_MAX)
        board, period = await self._find(paging.board_of(request.board), request.period)
        with _unavailable():
            top = await self._home.top(board, period)
        return pb.GetRegionTopResponse(
            rows=map(_region_row, top.entries[:limit]), players=top.players, stale=top.is_stale, region=self._home.name
        )

    async def get_region_place(self, request: pb.GetRegionPlaceRequest, call: Call) -> pb.GetRegionPlaceResponse:
        """See leaderboard.proto."""
        user_id = paging.user_of(request.user_id)
        board, period = await self._find(paging.board_of(request.board), request.period)
        with _unavailable():
            standing = await self._home.standing(board, period, user_id)
        if standing is None:
            raise _unknown_user(user_id, board)
        return pb.GetRegionPlaceResponse(
            row=_region_row(standing.entry),
            ahead=standing.ahead,
            approximate=not standing.is_exact,
            region=self._home.name,
        )

    async def count_ahead(self, request: pb.CountAheadRequest, call: Call) -> pb.CountAheadResponse:
        """See leaderboard.proto."""
        score = paging.between("score", request.score, -SCORE_MAX, SCORE_MAX)
        instant_us = paging.between("reached_before_us", request.reached_before_us, 0, paging.INSTANT_US_MAX)
        board, period = await self._find(paging.board_of(request.board), request.period)
        with _unavailable():
            found = await self._home.ahead(board, period, score, instant_us)
        return pb.CountAheadResponse(ahead=found.count, approximate=not found.is_exact, region=self._home.name)

    async def _read_all_regions(self, board: Board, period: Period, selector: str, limit: int) -> Answer:
        with _unavailable():
            rows, tops = await self._all_regions.top(board, period, limit)
        parts = _parts(tops)
        if not any(top.players or top.is_stale for _, top in tops):
            self._check_played(board, period, selector)
        body = pb.GetGlobalLeaderboardResponse(
            leaderboard=[
                pb.GlobalRow(
                    rank=rank, user_id=entry.user_id, username=entry.username, score=entry.score, region=region
                )
                for rank, (region, entry) in enumerate(rows, start=1)
            ],
            board=board.name,
            period=period.label,
            players=sum(part.players for part in parts),
            regions=parts,
        )
        return Answer(body.SerializeToString(), b"", etag=None)

    async def _read_boards(self) -> Answer:
        boards = sorted(self._catalogue.current.boards.values(), key=lambda board: board.board_id)
        with _unavailable():
            async with self._pool.acquire() as connection:
                found = pb.ListBoardsResponse(
                    boards=[await describe(connection, board, self._clock()) for board in boards]
                )
        return Answer(found.SerializeToString(), b"", etag=None)

    async def _read_top(self, board: Board, period: Period, page: Page) -> Answer:
        with _unavailable():
            rows, stale = await self._reading.top(_key(board, period), page.offset, page.limit)
        if rows.players == 0:
            self._check_played(board, period, page.period)
        body = _leaderboard(board, period, rows, stale)
        return Answer(body.SerializeToString(), _json(body), etag=None if stale else f'"{rows.version}"')

    def _check_played(self, board: Board, period: Period, selector: str) -> None:
        """Raises Refused(UNKNOWN_BOARD) for a label that names a time when nobody played."""
        if selector not in SELECTORS and not _is_current(period, self._clock()):
            raise _unknown_board(board.name, selector)

    async def _find(self, name: str, selector: str) -> tuple[Board, Period]:
        board = await self._catalogue.board(name)
        if board is None and not self._catalogue.is_loaded:
            raise _away()
        period = select_period(board.period, board.zone, selector, self._clock()) if board else None
        if board is None or period is None:
            raise _unknown_board(name, selector)
        return board, period


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turns the being away of Postgres, which is the last resort here, or of a region into LEADERBOARD_UNAVAILABLE."""
    try:
        yield
    except (*AWAY, RegionAway) as e:
        raise _away() from e


def _away() -> Refused:
    return Refused(
        Reason.LEADERBOARD_UNAVAILABLE, "Unable to fetch the leaderboard at this time; try again.", retry_after_s=1
    )


def _unknown_board(name: str, selector: str) -> Refused:
    period = f" with a period {selector!r}" if selector else ""
    message = f"There is no board {name!r}{period}: ListBoards names them."
    return Refused(Reason.UNKNOWN_BOARD, message, board=name, period=selector)


def _unknown_user(user_id: str, board: Board) -> Refused:
    message = f"The player {user_id!r} has no entry on the board {board.name!r}."
    return Refused(Reason.UNKNOWN_USER, message, user_id=user_id, board=board.name)


def _is_current(period: Period, now: datetime) -> bool:
    return period.start.tzinfo is None or period.start <= now < period.end


def _key(board: Board, period: Period) -> BoardKey:
    return BoardKey(board.board_id, period.start)


def _rows(rows: Sequence[read.Row]) -> list[Row]:
    return [Row(rank=row.rank, user_id=row.user_id, username=row.username, score=row.score) for row in rows]


def _leaderboard(board: Board, period: Period, page: read.Page, stale: bool) -> pb.GetLeaderboardResponse:
    return pb.GetLeaderboardResponse(
        leaderboard=_rows(page.rows),
        board=board.name,
        period=period.label,
        version=page.version,
        players=page.players,
        stale=stale,
    )


def _parts(tops: Sequence[tuple[str, Top]]) -> list[pb.RegionPart]:
    return [
        pb.RegionPart(
            name=name, players=top.players, stale=top.is_stale, age_s=-1 if top.age_s is None else round(top.age_s, 3)
        )
        for name, top in tops
    ]


def _region_row(entry: Entry) -> pb.RegionRow:
    return pb.RegionRow(
        user_id=entry.user_id, username=entry.username, score=entry.score, reached_at_us=entry.reached_at_us
    )


def _json(page: pb.GetLeaderboardResponse) -> bytes:
    """As the transcoder prints it."""
    rows = [
        {"rank": row.rank, "userId": row.user_id, "username": row.username, "score": int(row.score)}
        for row in page.leaderboard
    ]
    return orjson.dumps(
        {
            "leaderboard": rows,
            "board": page.board,
            "period": page.period,
            "version": int(page.version),
            "players": int(page.players),
            "stale": page.stale,
        }
    )
