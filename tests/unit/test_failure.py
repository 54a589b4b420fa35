"""What an error of a batch means for its jobs."""

import asyncpg
import pytest

from worker.failure import is_final, is_nobodys, reason_of


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.AdminShutdownError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.DiskFullError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.SerializationError(),
        asyncpg.ReadOnlySQLTransactionError(),
        asyncpg.UndefinedTableError(),
        asyncpg.ObjectNotInPrerequisiteStateError(),
        asyncpg.LockNotAvailableError(),
        asyncpg.InterfaceError("connection is closed"),
    ],
)
def test_what_names_no_job_is_tried_again_without_counting(error: Exception) -> None:
    assert is_nobodys(error)


@pytest.mark.parametrize(
    ("error", "final", "reason"),
    [
        (asyncpg.NumericValueOutOfRangeError(), True, "FAILED_22003"),
        (asyncpg.CharacterNotInRepertoireError(), True, "FAILED_22021"),
        (asyncpg.CheckViolationError(), True, "FAILED_23514"),
        (ValueError("secret"), True, "FAILED_ValueError"),
        (asyncpg.RaiseError("secret"), False, "FAILED_P0001"),
        (KeyError("secret"), False, "FAILED_KeyError"),
    ],
)
def test_what_a_job_caused_is_its_own(error: Exception, final: bool, reason: str) -> None:
    assert not is_nobodys(error)
    assert is_final(error) is final
    assert reason_of(error) == reason


def test_a_value_that_no_column_takes_is_not_taken_for_a_lost_connection() -> None:
    assert not is_nobodys(asyncpg.exceptions._base.DataError("value out of int64 range"))
