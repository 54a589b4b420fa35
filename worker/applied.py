"""What a transaction of the worker did, for the view and for those who wait."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from board.catalogue import Catalogue
from board.entry import BoardKey, Entry, UserName
from board.job_pb2 import Job, Result
from board.ledger import LedgerRow
from mesh.sql import Connection

#: Reads, and makes where they are missing, the periods of these boards: when each closes, None: never.
ClosingTimes = Callable[[Connection, Iterable[BoardKey], Catalogue], Awaitable[Mapping[BoardKey, datetime | None]]]


@dataclass(slots=True)
class Applied:
    """Results by update_id, jobs to park with their reason, and what the view must show.

    added: the ledger's new rows of updates; known: how many updates it had already.
    """

    results: dict[bytes, Result] = field(default_factory=dict)
    parked: list[tuple[Job, str]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    names: list[UserName] = field(default_factory=list)
    added: list[LedgerRow] = field(default_factory=list)
    known: int = 0
    traces: tuple[str, ...] = ()  # contexts that whoever shows it goes on from
