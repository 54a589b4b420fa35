"""mesh/sql.py: named queries."""

import pytest

from mesh.sql import load, parse


def test_each_query_is_found_by_its_name() -> None:
    queries = parse("x.sql", "-- head\n-- name: one\n-- $1 it\nSELECT 1\n\n-- name: two\nSELECT 2\n")
    assert queries == {"one": "-- $1 it\nSELECT 1", "two": "SELECT 2"}


def test_a_name_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.sql has two queries named one"):
        parse("x.sql", "-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n")


def test_a_file_without_names_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.sql has no line"):
        parse("x.sql", "SELECT 1")


def test_an_unknown_name_says_which_file_lacks_it() -> None:
    with pytest.raises(KeyError, match=r"ledger\.sql has no query named nothing"):
        load("board", "ledger.sql")["nothing"]
