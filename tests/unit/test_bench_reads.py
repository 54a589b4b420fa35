"""The bench's reads: what passes for a top 10, who stands where, and what is taken off."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import fill, load
from bench.cases.reads import less
from bench.http1 import Answer
from bench.stage import Repeat
from scoreboard.v1.common_pb2 import Row
from scoreboard.v1.leaderboard_pb2 import GetLeaderboardResponse

SCORES = [float(score) for score in range(100, 0, -10)]


def top(scores: list[float], first: int = 1) -> tuple[bytes, Answer]:
    rows = list(enumerate(scores, first))
    message = GetLeaderboardResponse(leaderboard=[Row(rank=rank, score=score) for rank, score in rows])
    body = orjson.dumps({"leaderboard": [{"rank": rank, "score": score} for rank, score in rows]})
    return message.SerializeToString(), Answer(200, body)


def test_a_top_of_ten_is_one_by_both_ways() -> None:
    message, answer = top(SCORES)
    assert load.is_top(message)
    assert load.is_top_json(answer)


@pytest.mark.parametrize(
    ("scores", "first"),
    [
        pytest.param([], 1, id="empty"),
        pytest.param(SCORES[:9], 1, id="too few"),
        pytest.param(SCORES[::-1], 1, id="upside down"),
        pytest.param(SCORES, 2, id="from the second on"),
    ],
)
def test_another_list_is_none(scores: list[float], first: int) -> None:
    message, answer = top(scores, first)
    assert not load.is_top(message)
    assert not load.is_top_json(answer)


def test_a_refusal_is_no_top_and_only_a_bare_304_is_unchanged() -> None:
    assert not load.is_top_json(Answer(503, b"{}"))
    assert load.is_unchanged(Answer(304, b""))
    assert not load.is_unchanged(Answer(200, b""))


@given(st.integers(1, 300))
def test_the_players_of_a_fill_have_each_a_rank_of_their_own(players: int) -> None:
    ranks = [fill.rank(fill.user_id(number), players) for number in range(1, players + 1)]
    assert sorted(ranks) == list(range(1, players + 1))


def test_what_happened_beside_an_operation_is_taken_off_by_process() -> None:
    measured = less(Repeat({"envoy": 50.0, "worker-1": 6.0}, 10.0, 1.0, 2.0), {"envoy": 100.0, "worker-1": 600.0}, 0.01)
    assert (measured.cpu_us, measured.per_second) == ({"envoy": 49.0, "worker-1": 0.0}, 10.0)
