"""Counts what the process does, and shows it to Prometheus in its text format.

Names, labels and buckets stand in mesh/metric_table.py alone. What is counted often is an attribute of a child that was
made before: prometheus-client's own children lock, and look through all buckets, which costs six times as much here.
It writes the text, and knows the process. Only the event loop may count; gauges are asked for when someone looks.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mesh.metric_table import TABLE, Described, Kind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

clock = time.perf_counter  # for what `Histogram` observes


class Value:
    """A counter's or a gauge's figure."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, by: float = 1) -> None:
        """Adds to it."""
        self.value += by


class Histogram:
    """How often which values were met, by the buckets of the table."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value, in base units."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Counts many at once: a batch's."""
        bounds, counts, total = self.bounds, self.counts, self.total
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total = total


C = TypeVar("C", bound=Value | Histogram)


class Family(Generic[C]):
    """One metric of the table, with a child for each combination of label values that is met."""

    def __init__(self, described: Described, make: Callable[[], C]) -> None:
        self.described = described
        self._make = make
        self._made: dict[tuple[str, ...], C] = {}
        self._read: dict[tuple[str, ...], Callable[[], float]] = {}

    def child(self, *values: str) -> C:
        """Returns the child of these label values, in the table's order; the same one each time."""
        found = self._made.get(values)
        if found is None:
            found = self._made[self._checked(values)] = self._make()
        return found

    def read(self, figure: Callable[[], float], *values: str) -> None:
        """Has a figure asked for whenever someone looks; a later one of the same labels takes its place."""
        self._read[self._checked(values)] = figure

    def children(self) -> Mapping[tuple[str, ...], C]:
        """Returns the children that were made, by their label values."""
        return self._made

    def _checked(self, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(values) != len(self.described.labels):
            raise ValueError(f"{self.described.name} has the labels {self.described.labels}")
        return values

    def collect(self) -> Metric:
        """Returns what prometheus-client writes."""
        name, help_, labels = self.described.name, self.described.help, self.described.labels
        if self.described.kind is Kind.HISTOGRAM:
            family = HistogramMetricFamily(name, help_, labels=labels)
            for values, child in self._made.items():
                assert isinstance(child, Histogram)
                family.add_metric(values, list(_buckets(child)), child.total)
            return family
        kind = CounterMetricFamily if self.described.kind is Kind.COUNTER else GaugeMetricFamily
        single = kind(name, help_, labels=labels)
        for values, child in self._made.items():
            assert isinstance(child, Value)
            single.add_metric(values, child.value)
        for values, figure in self._read.items():
            single.add_metric(values, figure())
        return single


def _buckets(histogram: Histogram) -> Iterator[tuple[str, float]]:
    seen = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        seen += count
        yield ("+Inf" if bound == float("inf") else f"{bound:g}"), seen


class _All(Collector):
    """The families that the modules of this process use."""

    def __init__(self) -> None:
        self.families: dict[str, Family[Any]] = {}

    def collect(self) -> Iterator[Metric]:
        """Yields them as prometheus-client wants them."""
        for family in self.families.values():
            yield family.collect()


_all = _All()
_registry = CollectorRegistry(auto_describe=False)
_registry.register(_all)
ProcessCollector(registry=_registry)
GCCollector(registry=_registry)


def counter(name: str) -> Family[Value]:
    """Returns the table's counter of that name. Raises KeyError when there is none."""
    return _value(name, Kind.COUNTER)


def gauge(name: str) -> Family[Value]:
    """Returns the table's gauge of that name. Raises KeyError when there is none."""
    return _value(name, Kind.GAUGE)


def histogram(name: str) -> Family[Histogram]:
    """Returns the table's histogram of that name. Raises KeyError when there is none."""
    described = _described(name, Kind.HISTOGRAM)
    return _all.families.setdefault(name, Family(described, lambda: Histogram(described.bounds)))


def _value(name: str, kind: Kind) -> Family[Value]:
    return _all.families.setdefault(name, Family(_described(name, kind), Value))


def _described(name: str, kind: Kind) -> Described:
    described = TABLE[name]
    if described.kind is not kind:
        raise KeyError(f"{name} is a {described.kind}")
    return described


def text() -> bytes:
    """Returns everything in Prometheus' text format."""
    return generate_latest(_registry)


HEADERS: Mapping[str, str] = MappingProxyType({"content-type": CONTENT_TYPE})
