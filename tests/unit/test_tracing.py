"""mesh/tracing.py: what is sampled is decided by the flags, and nothing else is touched for what is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from mesh import tracing
from tests.services import TREE

IDS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def traced() -> Iterator[None]:
    """Spans are made, and go nowhere."""
    tracing.configure("test", NOWHERE, 0.0)
    yield
    tracing.close()


@pytest.mark.parametrize(
    ("traceparent", "is_wanted"),
    [
        (f"{IDS}-01", True),
        (f"{IDS}-03", True),
        (f"{IDS}-00", False),
        (f"{IDS}-02", False),
        (f"{IDS}-0", False),
        ("", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_the_flags_alone_say_what_is_traced(traced: None, traceparent: str | None, is_wanted: bool) -> None:
    assert tracing.wants(traceparent) is is_wanted


@pytest.mark.parametrize("traceparent", [f"{IDS}-01", None])
def test_nothing_is_traced_while_spans_are_off(traceparent: str | None) -> None:
    tracing.configure("test", None, 1.0)
    assert not tracing.wants(traceparent)
    assert not tracing.is_on()


def test_chance_decides_where_no_context_comes() -> None:
    tracing.configure("test", NOWHERE, 1.0)
    try:
        assert all(tracing.wants(None) for _ in range(100))
        assert not tracing.wants(f"{IDS}-00")  # whoever asked has decided
    finally:
        tracing.close()


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"{IDS}-00", "0af7651916cd43dd8448eb211c80319c"),
        (f"01{IDS[2:]}-01-more", "0af7651916cd43dd8448eb211c80319c"),
        (f"ff{IDS[2:]}-01", None),
        (f"{IDS}-01, {IDS}-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{'a' * 32}-{'0' * 16}-01", None),
        (IDS.upper() + "-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_has_an_id_where_the_header_is_good(traceparent: str | None, trace_id: str | None) -> None:
    assert tracing.trace_id(traceparent) == trace_id


def test_a_served_call_is_current_and_goes_on_with_its_callers_trace(traced: None) -> None:
    assert tracing.current() is None
    serving = tracing.Serving("/a.B/C", f"{IDS}-01")
    within = tracing.traceparent_of(tracing.current())
    serving.end()
    assert tracing.current() is None
    assert within[:36] == f"{IDS}-01"[:36]
    assert within[36:52] != IDS[36:52]
    assert within.endswith("-01")


def test_a_bad_parent_begins_a_trace_of_its_own(traced: None) -> None:
    span = tracing.begin("x", tracing.Kind.INTERNAL, "nonsense1", ["worse", f"{IDS}-01"])
    span.end()
    assert tracing.trace_id(tracing.traceparent_of(span)) is not None


def test_without_an_endpoint_the_sdk_is_not_loaded() -> None:
    code = (
        "import sys; from mesh import tracing; tracing.configure('x', None, 1.0); tracing.wants(None);"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=TREE, check=True)
