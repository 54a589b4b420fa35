"""What is committed in web/dist: made from the sources beside it, and small. Needs no Node."""

from __future__ import annotations

import gzip
import re
import runpy
from pathlib import Path

from tests.web.browser import DIST

BYTES_MAX = 48_000  # gzipped
PAGE_BYTES_MAX = 150_000  # gzipped: all that the page loads, the client and the font in it (issue 6)


def test_it_was_built_from_the_sources_and_the_contract_that_are_here() -> None:
    build = runpy.run_path(str(DIST.parent / "build.py"))
    noted = (DIST.parent / "dist.sha256").read_text().strip()
    assert noted == build["digest"](), "web/dist is stale: run `make web`"


def test_the_client_is_small_enough_for_a_page() -> None:
    assert len(gzip.compress((DIST / "client.js").read_bytes(), 6)) <= BYTES_MAX


def page_files() -> list[Path]:
    """Everything that the page loads; the client's own file is for other pages."""
    return [DIST / "index.html", DIST / "favicon.svg", *sorted((DIST / "assets").iterdir())]


def test_the_whole_page_is_small() -> None:
    weights = {path.name: len(gzip.compress(path.read_bytes(), 6)) for path in page_files()}
    assert {path.rpartition(".")[2] for path in weights} == {"html", "svg", "js", "css", "woff2"}
    assert sum(weights.values()) <= PAGE_BYTES_MAX, weights


def test_the_page_has_nothing_that_its_policy_forbids() -> None:
    page = (DIST / "index.html").read_text()
    assert not re.findall(r"<style|\bstyle=|\bon[a-z]+=|<script(?![^>]*\bsrc=)|https?:|data:", page)
    places = re.findall(r'\b(?:src|href)="([^"]+)"', page)
    assert places
    assert all(place.startswith("/") for place in places)
    assert "data:" not in "".join(path.read_text() for path in (DIST / "assets").glob("*.css"))


def test_the_licenses_of_what_is_in_it_come_along() -> None:
    said = (DIST / "client.licenses.txt").read_text()
    for name in (
        "@bufbuild/protobuf",
        "@connectrpc/connect",
        "@connectrpc/connect-web",
        "eventsource-parser",
        "idb-keyval",
    ):
        assert name in said


def test_the_licenses_of_what_is_in_the_page_come_along() -> None:
    said = (DIST / "page.licenses.txt").read_text()
    for name in ("preact", "@connectrpc/connect-web", "@bufbuild/protobuf"):
        assert name in said
    assert "SIL OPEN FONT LICENSE" in (DIST / "instrument-sans.license.txt").read_text()
