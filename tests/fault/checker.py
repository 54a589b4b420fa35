"""Classes every update by what its sender was told and by what is found, as Jepsen's total-queue checker does.

`classify` is pure; `find` reads Postgres, `tests.fault.trial` compares the rest (board.verify). What a sender was told
last is what counts; an update that he was never told of for certain may have been counted or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from uuid import UUID

import asyncpg


class Told(Enum):
    """What an attempt ended with."""

    APPLIED = "applied"  # committed
    PENDING = "pending"  # the broker has it safe
    REFUSED = "refused"  # the worker decided against it: the ledger has a row that says so
    PARKED = "parked"  # it is among the dead letters
    FAILED = "failed"  # it is certain that it was not queued
    UNKNOWN = "unknown"  # no answer, or one that leaves it open


@dataclass
class Sent:
    """One update: whose it is, the points that it is worth, and what each of its attempts was told."""

    update_id: UUID
    user_id: str
    points: int
    told: list[Told] = field(default_factory=list)

    @property
    def last(self) -> Told:
        """What its sender knows."""
        return self.told[-1] if self.told else Told.UNKNOWN


@dataclass(frozen=True)
class Found:
    """What the database has: rows by id (applied, refused), dead letters, and users.score of each player."""

    applied: Counter[UUID]
    refused: Counter[UUID]
    dead: Counter[UUID]
    scores: Mapping[str, int]


@dataclass
class Verdict:
    """Ids by class. Those of the first group are as promised, any of the second breaks INV."""

    counted: list[UUID] = field(default_factory=list)  # and it was said so
    recovered: list[UUID] = field(default_factory=list)  # an attempt was UNKNOWN, and it counted
    refused: list[UUID] = field(default_factory=list)
    dead: list[UUID] = field(default_factory=list)
    absent: list[UUID] = field(default_factory=list)  # FAILED in the end and never promised, and found nowhere

    lost: list[UUID] = field(default_factory=list)  # told APPLIED, PENDING, REFUSED or PARKED once, and found nowhere
    doubled: list[UUID] = field(default_factory=list)  # found twice
    unexpected: list[UUID] = field(default_factory=list)  # never sent, or told otherwise
    unresolved: list[UUID] = field(default_factory=list)  # UNKNOWN or PENDING to the end
    wrong_scores: list[str] = field(default_factory=list)  # players whose score is not what their updates make

    @property
    def offences(self) -> dict[str, list[object]]:
        """What breaks INV, by class; empty: it holds."""
        names = ("lost", "doubled", "unexpected", "unresolved", "wrong_scores")
        return {name: list(getattr(self, name)) for name in names if getattr(self, name)}

    @property
    def doubled_count(self) -> int:
        """Ids found twice, and players whose score is wrong: with every id in one place it tells of an increment."""
        return len(self.doubled) + len(self.wrong_scores)

    def __str__(self) -> str:
        return ", ".join(f"{each.name} {len(getattr(self, each.name))}" for each in fields(self))


def classify(sent: Mapping[UUID, Sent], found: Found) -> Verdict:
    """Return each id's class. An id is in one class alone; a player's wrong score is told beside them."""
    verdict = Verdict()
    for update_id in sent.keys() | found.applied.keys() | found.refused.keys() | found.dead.keys():
        getattr(verdict, _class(sent.get(update_id), update_id, found)).append(update_id)
    expected = Counter({one.user_id: 0 for one in sent.values()})
    for update_id in found.applied:
        if (one := sent.get(update_id)) is not None:
            expected[one.user_id] += one.points
    verdict.wrong_scores = [
        f"{user_id}: {found.scores.get(user_id, 0)} instead of {score}"
        for user_id, score in expected.items()
        if found.scores.get(user_id, 0) != score
    ]
    return verdict


def _class(sent: Sent | None, update_id: UUID, found: Found) -> str:
    places = {
        "counted": found.applied[update_id],
        "refused": found.refused[update_id],
        "dead": found.dead[update_id],
    }
    if sum(places.values()) > 1:
        return "doubled"
    place = next((name for name, count in places.items() if count), "absent")
    if sent is None:
        return "unexpected"
    if place == "absent" and _PROMISES.intersection(sent.told):  # whatever was told afterwards
        return "lost"
    if sent.last in (Told.UNKNOWN, Told.PENDING):
        return "unresolved"
    if place != _WHERE[sent.last]:
        return "unexpected"
    return "recovered" if place == "counted" and Told.UNKNOWN in sent.told else place


_PROMISES = frozenset({Told.APPLIED, Told.PENDING, Told.REFUSED, Told.PARKED})
_WHERE = {Told.APPLIED: "counted", Told.REFUSED: "refused", Told.PARKED: "dead", Told.FAILED: "absent"}

_ROWS = """
SELECT l.id, l.outcome, count(*) AS rows
FROM score_logs l JOIN users u ON u.id = l.user_ref
WHERE u.user_id = ANY($1) OR l.id = ANY($2)
GROUP BY l.id, l.outcome
"""
_DEAD = "SELECT update_id FROM dead_letters WHERE update_id = ANY($1) OR first_failed_at >= to_timestamp($2)"
_SCORES = "SELECT user_id, score FROM users WHERE user_id = ANY($1)"


async def find(pool: asyncpg.Pool, sent: Iterable[Sent], *, since_s: float) -> Found:
    """Read what the database has of these updates, of their players, and dead letters since then (unix seconds)."""
    ids = [one.update_id for one in sent]
    users = list({one.user_id for one in sent})
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        rows = await conn.fetch(_ROWS, users, ids)
        dead = await conn.fetch(_DEAD, ids, since_s)
        scores = await conn.fetch(_SCORES, users)
    return Found(
        Counter({row["id"]: row["rows"] for row in rows if row["outcome"] == 0}),
        Counter({row["id"]: row["rows"] for row in rows if row["outcome"] != 0}),
        Counter(row["update_id"] for row in dead),
        {row["user_id"]: row["score"] for row in scores},
    )
