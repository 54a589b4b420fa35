"""Decides what an error of a batch means: the database is away, the attempt collided, or a job is at fault.

Pure. Holds always: an error that names no job never costs a job one of its attempts.
"""

import asyncpg

from mesh import postgres

_DATA__RETRY = "22"  # SQLSTATE class of data exceptions: the same data fails the same way


class CatalogueMissing(Exception):  # noqa: N818 — named for what is so
    """There is no catalogue to decide by: before the first `scoreboard apply`, jobs wait."""


#: Errors of the schema or of rights, for a migration is due: nobody's job.
_NO_JOBS_FAULT = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    CatalogueMissing,
)


def is_nobodys(error: BaseException) -> bool:
    """True when the same jobs must simply be tried again, however long it takes."""
    # asyncpg's error for a value that does not fit its column is an InterfaceError too, like a lost connection.
    return isinstance(error, (*postgres.AWAY, *_NO_JOBS_FAULT)) and not isinstance(error, ValueError)


def is_final(error: BaseException) -> bool:
    """True when a job that failed alone would fail the same way again."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate)
        return state.startswith(_DATA__RETRY) or isinstance(error, asyncpg.CheckViolationError)
    return isinstance(error, ValueError)


def reason_of(error: BaseException) -> str:
    """Returns the reason that a dead letter carries: the kind of error alone, for its text may quote data."""
    if isinstance(error, asyncpg.PostgresError):
        return f"FAILED_{error.sqlstate}"
    return f"FAILED_{type(error).__name__}"
