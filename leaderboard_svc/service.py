"""LeaderboardService: proto in, a page or a place, proto out."""

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
from board.periods import Period, select_period
from board.reading import BoardReading
from leaderboard_svc import page as paging
from leaderboard_svc.boards import describe
from leaderboard_svc.page import Page
from leaderboard_svc.snapshots import Answer, Snapshots
from mesh.call import Call
from mesh.postgres import AWAY
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.rpc import PUBLIC
from scoreboard.v1 import leaderboard_pb2 as pb
from scoreboard.v1.common_pb2 import Row

ACCESS = dict.fromkeys(("GetLeaderboard", "GetRank", "GetAround", "ListBoards"), PUBLIC)
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
    ) -> None:
        self._reading = reading
        self._catalogue = catalogue
        self._pool = pool
        self._clock = clock
        self._snapshots = Snapshots()

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
        if rows.players == 0 and page.period not in SELECTORS and not _is_current(period, self._clock()):
            raise _unknown_board(page.board, page.period)  # a label that names a time when nobody played
        body = _leaderboard(board, period, rows, stale)
        return Answer(body.SerializeToString(), _json(body), etag=None if stale else f'"{rows.version}"')

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
    """Turns Postgres' being away, which is the last resort here, into LEADERBOARD_UNAVAILABLE."""
    try:
        yield
    except AWAY as e:
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
