"""Metrics count what they are told, the table keeps its own rules, and what is made of tables is fresh."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh import metrics
from mesh.metric_table import ALL, LABELS, LIBRARY, TABLE, Described, Kind
from monitoring.__main__ import stale

UNITS = ("_seconds", "_bytes", "_total")


def samples(name: str) -> dict[tuple[str, ...], float]:
    """What the process exports under a sample's name, by label values."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_a_counter_counts_by_its_labels() -> None:
    claims = metrics.counter("scoreboard_score_claims_total")
    before = samples("scoreboard_score_claims_total").get(("limited",), 0)
    claims.child("limited").inc()
    claims.child("limited").inc(2)
    assert samples("scoreboard_score_claims_total")["limited",] == before + 3


def test_a_gauge_is_asked_when_someone_looks_and_the_last_one_made_answers() -> None:
    waiting = metrics.gauge("scoreboard_round_waiting")
    room: list[int] = []
    waiting.read(lambda: 99, "of a test")
    waiting.read(lambda: len(room), "of a test")
    assert samples("scoreboard_round_waiting")["of a test",] == 0
    room += [1, 2]
    assert samples("scoreboard_round_waiting")["of a test",] == 2


def test_a_histogram_puts_a_value_into_every_bucket_that_is_not_below_it() -> None:
    histogram = metrics.histogram("scoreboard_round_duration_seconds").child("of a histogram")
    histogram.observe(0.0005)
    histogram.observe_all([0.001, 0.0011, 99.0])
    buckets = samples("scoreboard_round_duration_seconds_bucket")
    mine = {values[0]: count for values, count in buckets.items() if "of a histogram" in values}
    assert (mine["0.0005"], mine["0.001"], mine["0.0025"], mine["2.5"], mine["+Inf"]) == (1, 2, 3, 3, 4)
    assert samples("scoreboard_round_duration_seconds_count")["of a histogram",] == 4
    assert samples("scoreboard_round_duration_seconds_sum")["of a histogram",] == pytest.approx(99.0026)


def test_a_name_that_is_not_in_the_table_or_of_another_kind_is_an_error_at_import() -> None:
    for make, name in ((metrics.counter, "scoreboard_misspelt_total"), (metrics.counter, "scoreboard_ready")):
        with pytest.raises(KeyError):
            make(name)
    with pytest.raises(ValueError, match="labels"):
        metrics.counter("scoreboard_score_claims_total").child()


@pytest.mark.parametrize("metric", TABLE.values(), ids=lambda metric: metric.name)
def test_a_metric_keeps_the_rules_of_names(metric: Described) -> None:
    assert re.fullmatch(r"scoreboard_[a-z][a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.bounds) == sorted(metric.bounds)
    assert not metric.bounds or metric.name.endswith(UNITS)
    assert set(metric.labels) <= set(LABELS)
    assert set(metric.processes) <= set(ALL)
    assert metric.help.endswith(".")


def test_no_label_is_described_that_nobody_has() -> None:
    assert {label for metric in (*TABLE.values(), *LIBRARY.values()) for label in metric.labels} == set(LABELS)


def test_what_is_made_of_tables_is_fresh() -> None:
    assert [path.name for path in stale()] == []
