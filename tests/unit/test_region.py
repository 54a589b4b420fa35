"""How the boards of several regions become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leaderboard_svc.region import TOP_MAX, Ahead, Entry, Top, count_ahead, merge, reached_before

NAMES = ("ap", "eu", "us")
# Few scores and instants, so that ties of every kind abound.
PLAYERS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-3, 3), st.integers(0, 3)), max_size=60)


def _boards(players: list[tuple[str, int, int]]) -> dict[str, Top]:
    """Each region's board, in its own order."""
    entries = {name: [] for name in NAMES}  # type: dict[str, list[Entry]]
    for number, (name, score, instant_us) in enumerate(players):
        entries[name].append(Entry(f"u_{number}", f"P{number}", score, instant_us))
    for each in entries.values():
        each.sort(key=lambda entry: (-entry.score, entry.reached_at_us))
    return {name: Top(tuple(each), len(each), is_stale=False, age_s=0.0) for name, each in entries.items()}


@given(PLAYERS, st.integers(1, TOP_MAX))
def test_the_merged_top_is_in_the_order_of_one_board(players: list[tuple[str, int, int]], limit: int) -> None:
    boards = _boards(players)
    everyone = [(name, entry) for name in NAMES for entry in boards[name].entries]
    everyone.sort(key=lambda placed: (-placed[1].score, placed[1].reached_at_us, placed[0]))
    assert merge(list(boards.items()), limit) == everyone[:limit]


@given(PLAYERS)
def test_a_rank_is_the_sum_of_the_regions_counts(players: list[tuple[str, int, int]]) -> None:
    boards = _boards(players)
    for rank, (own, entry) in enumerate(merge(list(boards.items()), len(players)), start=1):
        ahead = boards[own].entries.index(entry)
        for other in NAMES:
            if other != own:
                before_us = reached_before(own, other, entry.reached_at_us)
                ahead += count_ahead(boards[other], entry.score, before_us).count
        assert rank == ahead + 1


def test_what_is_known_of_a_region_that_is_away_is_no_exact_count() -> None:
    assert count_ahead(Top(), 5, 0) == Ahead(0, is_exact=False)
