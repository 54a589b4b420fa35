"""GET /api/scores/leaderboard as plain HTTP: the gateway's transcoder would cost more than all the rest of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl

from leaderboard_svc.page import Page, page_of
from leaderboard_svc.service import LeaderboardService
from mesh.plain_get import HttpAnswer
from mesh.refusal import invalid
from scoreboard.v1.leaderboard_pb2 import GetLeaderboardRequest

PATH = "/api/scores/leaderboard"
JSON = "application/json"
NUMBERS, NAMES = ("limit", "offset"), ("board", "period")
INT32 = range(-(2**31), 2**31)
PARAMETERS_MAX = 16  # four have a meaning; each other one is refused by its name
QUERIES_MAX = 1_000  # that are remembered with what they mean


class LeaderboardPage:
    """Answers PATH from the same snapshots as the RPC."""

    def __init__(self, service: LeaderboardService) -> None:
        self._service = service

    async def answer(self, query: str, headers: Mapping[str, str]) -> HttpAnswer:
        """Returns the page, or 304 when the client has it. Raises Refused."""
        page = _page_of(query)
        found = await self._service.top(page)
        if found.etag is None:
            return HttpAnswer(200, {"content-type": JSON, "cache-control": "no-cache"}, found.json)
        shown = {"cache-control": "no-cache", "etag": found.etag}
        if found.etag in headers.get("if-none-match", ""):
            return HttpAnswer(304, shown, b"")
        return HttpAnswer(200, {"content-type": JSON, **shown}, found.json)


@lru_cache(maxsize=QUERIES_MAX)
def _page_of(query: str) -> Page:
    request, seen = GetLeaderboardRequest(), set()
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError as e:  # of UnicodeDecodeError too
        raise invalid("query", f"must be UTF-8, of at most {PARAMETERS_MAX} parameters") from e
    for name, value in pairs:
        if name in seen or name not in (*NUMBERS, *NAMES):
            raise invalid(name[:50], "is no parameter of this call, or stands there twice")
        seen.add(name)
        setattr(request, name, value if name in NAMES else _number(name, value))
    return page_of(request)


def _number(name: str, value: str) -> int:
    text = value.removeprefix("-")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(value) in INT32):
        raise invalid(name, "must be a whole number")
    return int(value)
