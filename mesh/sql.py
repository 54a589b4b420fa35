"""Loads the named queries of a `.sql` file that stands beside the module which runs them.

A query begins at a line `-- name: word` and ends where the next begins. Holds always: a name occurs once in a file,
and asking for a name that is not there is an error at import, not at the first call.
"""

import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    #: What runs a query inside the caller's transaction.
    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]
    #: What runs a query on its own.
    Executor = Connection | asyncpg.Pool[Any]
else:
    Connection = Executor = Any

_NAME = re.compile(r"^-- name: (\S+)[ \t]*\n", re.MULTILINE)


class Queries(dict[str, str]):
    """The queries of one file, by name."""

    def __init__(self, filename: str) -> None:
        super().__init__()
        self._filename = filename

    def __missing__(self, name: str) -> str:
        raise KeyError(f"{self._filename} has no query named {name}")


def parse(filename: str, text: str) -> Mapping[str, str]:
    """Splits the text of `filename` into its queries. Raises ValueError where a name occurs twice or none does."""
    _, *parts = _NAME.split(text)
    if not parts:
        raise ValueError(f"{filename} has no line `-- name: …`")
    queries = Queries(filename)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{filename} has two queries named {name}")
        queries[name] = body.strip()
    return queries


def load(package: str, filename: str) -> Mapping[str, str]:
    """Returns the queries of `filename` in `package` (usually `__package__`), by name.

    Raises ValueError as `parse` does; the mapping raises KeyError for a name that the file lacks.
    """
    return parse(filename, resources.files(package).joinpath(filename).read_text(encoding="utf-8"))
