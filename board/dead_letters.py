"""The jobs that could not be applied, which operators look at and replay: the table dead_letters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mesh.sql import Executor, load

_SQL = load("board", "dead_letters.sql")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that could not be applied. job: the bytes of board.Job."""

    update_id: UUID
    job: bytes
    reason: str
    attempts: int
    first_failed_at: datetime


async def file_dead_letters(db: Executor, letters: Sequence[tuple[UUID, bytes, str, int]]) -> None:
    """Files jobs that cannot be applied: (update id, bytes of board.Job, reason, attempts) each, an id once."""
    ids, jobs, reasons, attempts = ([letter[i] for letter in letters] for i in range(4))
    await db.execute(_SQL["file_dead_letters"], ids, jobs, reasons, attempts)


async def find_dead_letters(db: Executor, update_ids: Iterable[UUID]) -> dict[UUID, DeadLetter]:
    """Returns the dead letters of these updates, those that are there."""
    rows = await db.fetch(_SQL["find_dead_letters"], list(update_ids))
    return {row["update_id"]: DeadLetter(*row) for row in rows}


async def remove_dead_letters(db: Executor, update_ids: Iterable[UUID]) -> None:
    """Removes the dead letters whose ids have entered the ledger."""
    await db.execute(_SQL["remove_dead_letters"], list(update_ids))
