"""The demo's arithmetic: what an answer counts as, and what the summary says."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.client import ScoreboardError
from scoreboard.demo import Roster, Tally, _classify, percentile


def error(reason: str, code: grpc.StatusCode) -> ScoreboardError:
    return ScoreboardError(reason, "no", code, None, {})


@pytest.mark.parametrize(
    ("reason", "code", "outcome"),
    [
        ("RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, "refused"),
        ("COOLDOWN", grpc.StatusCode.RESOURCE_EXHAUSTED, "refused"),
        ("CAP_REACHED", grpc.StatusCode.RESOURCE_EXHAUSTED, "refused"),
        ("QUEUE_FULL", grpc.StatusCode.RESOURCE_EXHAUSTED, "refused"),
        ("BANNED", grpc.StatusCode.PERMISSION_DENIED, "refused"),
        ("TOO_LARGE", grpc.StatusCode.RESOURCE_EXHAUSTED, "failed"),
        ("SIGNATURE_INVALID", grpc.StatusCode.PERMISSION_DENIED, "failed"),
        ("NOT_YOUR_SCORE", grpc.StatusCode.PERMISSION_DENIED, "failed"),
        ("NONCE_EXPIRED", grpc.StatusCode.INVALID_ARGUMENT, "failed"),
        ("INTERNAL", grpc.StatusCode.INTERNAL, "failed"),
        ("BROKER_AWAY", grpc.StatusCode.UNAVAILABLE, "unknown"),
        ("", grpc.StatusCode.UNAVAILABLE, "unknown"),
        ("DEADLINE_EXCEEDED", grpc.StatusCode.DEADLINE_EXCEEDED, "unknown"),
    ],
)
def test_a_refusal_counts_by_whether_it_should_be(reason: str, code: grpc.StatusCode, outcome: str) -> None:
    assert _classify(error(reason, code)) == outcome


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (1.0, 100.0), (0.001, 1.0)],
)
def test_percentiles_of_one_to_a_hundred(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], share) == expected


def test_percentiles_of_few_and_of_none() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([7.04], 0.99) == 7.0
    assert percentile([1.0, 9.0], 0.5) == 1.0
    assert percentile([1.0, 9.0], 0.51) == 9.0


@given(st.lists(st.floats(0, 10_000), min_size=1), st.floats(0.01, 1))
def test_a_percentile_covers_its_share(latencies: list[float], share: float) -> None:
    ordered = sorted(latencies)
    found = percentile(ordered, share)
    within = sum(round(one, 1) <= found for one in ordered)
    assert within >= share * len(ordered)
    assert found in [round(one, 1) for one in ordered]


def test_a_summary_has_every_count_also_those_of_nothing() -> None:
    tally = Tally()
    tally.counts.update(ok=3, refused=1)
    tally.latencies_ms += [30.0, 10.0, 20.04]
    assert tally.summary() == {"ok": 3, "refused": 1, "failed": 0, "unknown": 0, "p50_ms": 20.0, "p99_ms": 30.0}


def test_players_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "demo-players.json"
    added = Roster(path).add("Ada-1", "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Roster(path).players == [added] == json.loads(path.read_text())
    assert list(tmp_path.iterdir()) == [path]
