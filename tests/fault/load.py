"""Players and trusted clients who send updates at once, and keep what each attempt was told.

An update is APPLIED, PENDING, REFUSED, PARKED or FAILED when an answer says so, and UNKNOWN when none came or it
leaves the outcome open; `resolve` sends those again with their nonces until each is known. Holds always: nothing is
sent without a place in `sent`, by the id that is derived from its nonce.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc

from scoreboard.client import to_error
from scoreboard.v1 import score_pb2 as pb
from tests.fault.checker import Sent, Told
from tests.fault.world import World
from tests.scoring import Player, new_nonce, update_id_of
from tests.waiting import SCALE

CALL_TIMEOUT_S = 10.0 * SCALE  # a caller's own: the service answers within 3 s, or a test says that it did not
TOKEN_LIFE_S = 7_200  # longer than any test: sessions are not what these break
PAUSE_S = 0.1  # between the tries of one update: a refusal comes at once, and would else be asked for in a hot loop
ROW_REASONS = frozenset({"BANNED", "COOLDOWN", "CAP_REACHED"})  # refusals that the worker writes into the ledger
POINTS = {"win-round": 50, "coin": 1, "lose-round": -20}

_STATUS = {pb.APPLIED: Told.APPLIED, pb.PENDING: Told.PENDING, pb.PARKED: Told.PARKED}


_INSERT = """
WITH made AS (
  INSERT INTO users (user_id, username, score)
  SELECT user_id, 'Name of ' || user_id, score FROM unnest($1::text[], $2::bigint[]) given (user_id, score)
  RETURNING id, user_id, score
), counted AS (
  INSERT INTO score_logs (id, user_ref, action_id, score_change, score_after, accepted_at, applied_at, revision)
  SELECT (left(first_ledger_id(now())::text, 24) || lpad(to_hex(id), 12, '0'))::uuid, id, 'win-round', score, score,
         '2026-01-01Z', '2026-01-01Z', 1
  FROM made WHERE score <> 0
  RETURNING id, user_ref, score_change, accepted_at
), placed AS (
  INSERT INTO board_entries (board_id, period_start, user_ref, score, reached_at)
  SELECT b.board_id, '-infinity', user_ref, score_change, accepted_at FROM counted, boards b WHERE b.name = 'all'
)
SELECT made.user_id, counted.id, made.score FROM made JOIN counted ON counted.user_ref = made.id
"""


async def insert_players(pool: asyncpg.Pool, scores: Mapping[str, int]) -> list[Sent]:
    """Make players by user id; return the update that gave each his points, if any.

    Its time is before all periods that are kept: it counts on the board `all` alone. Redis learns nothing of it.
    """
    rows = await pool.fetch(_INSERT, list(scores), list(scores.values()), timeout=120)
    return [Sent(row["id"], row["user_id"], row["score"], [Told.APPLIED]) for row in rows]


@dataclass(frozen=True)
class Answer:
    """How a call ended. at: monotonic seconds. reason: of a refusal, else the gRPC code's name, OK included.

    applied: how many of its updates were told APPLIED.
    """

    at: float
    took_s: float
    reason: str
    applied: int


@dataclass(frozen=True)
class _Update:
    sender: Player
    reporter: str  # empty: the player himself
    request: pb.UpdateScoreRequest
    sent: Sent


class Load:
    """The senders of one test. `sent`: all updates, by id. `answers`: how each call ended, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._updates: dict[UUID, _Update] = {}
        self.sent: dict[UUID, Sent] = {}
        self.answers: list[Answer] = []
        self.players: list[Player] = []
        self._clients: list[Player] = []

    async def add_players(self, count: int, points: int = 0) -> list[Player]:
        """Make players with sessions; `play` chooses among all. points: that they begin with; Redis knows 0 alone."""
        ids = [f"u_{secrets.token_hex(6)}" for _ in range(count)]
        begun = await insert_players(self._world.pool, dict.fromkeys(ids, points))
        self.sent |= {one.update_id: one for one in begun}
        made = [self._session(user_id) for user_id in ids]
        self.players += made
        return made

    async def play(
        self,
        count: int,
        *,
        at_once: int = 16,
        rate_per_s: float | None = None,
        action_id: str = "win-round",
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send that many signed updates, each once, of players chosen at random; fewer when `until` comes true."""

        async def one() -> None:
            await self.send(random.choice(self.players), action_id)

        await _many(one, count, at_once, rate_per_s, until)

    async def play_batches(
        self,
        count: int,
        *,
        size: int = 50,
        at_once: int = 4,
        rate_per_s: float | None = None,
        action_id: str = "win-round",
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send that many updates in batches of a trusted client, cheaper; `rate_per_s` counts updates."""
        client = await self._client()

        async def one() -> None:
            await self.send_batch(client, [random.choice(self.players) for _ in range(size)], action_id)

        await _many(one, -(-count // size), at_once, rate_per_s and rate_per_s / size, until)

    @asynccontextmanager
    async def playing(self, play: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
        """Run `play(…)` or `play_batches(…)` beside the block, and wait for its end."""
        task = asyncio.create_task(play, name="load")
        try:
            yield task
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def running(self, *, rate_per_s: float, at_once: int = 64) -> AsyncIterator[None]:
        """`play` beside the block until its end. Calls that hang lower the rate: no more than `at_once` are open."""
        is_over = False
        async with self.playing(self.play(10**9, at_once=at_once, rate_per_s=rate_per_s, until=lambda: is_over)):
            yield
            is_over = True

    async def send(self, player: Player, action_id: str = "win-round", nonce: str | None = None) -> Told:
        """Send one signed update, once."""
        return await self._send(self._new(player, player, "", action_id, nonce or new_nonce()))

    async def send_batch(self, client: Player, players: Sequence[Player], action_id: str = "win-round") -> None:
        """Send one update of each of these in one call, once."""
        await self._send_batch(
            client, [self._new(client, player, client.user_id, action_id, new_nonce()) for player in players]
        )

    async def resolve(self, timeout_s: float = 60.0) -> None:
        """Send what is UNKNOWN or PENDING again, with the same nonces, until it is known; gives up at the deadline."""
        deadline = time.monotonic() + timeout_s * SCALE
        while (rest := self._open()) and time.monotonic() < deadline:
            own = deque(update for update in rest if not update.reporter)
            for i in range(0, len(reported := [update for update in rest if update.reporter]), 100):
                await self._send_batch(reported[0].sender, reported[i : i + 100])

            async def one(own: deque[_Update] = own) -> None:
                await self._send(own.popleft())

            await _many(one, len(own), 64, None, lambda: False)
            if self._open():
                await asyncio.sleep(PAUSE_S)
        self._world.timeline.note(f"resolved, but for {len(rest)} of {len(self.sent)} updates")

    @property
    def told(self) -> Counter[Told]:
        """How many updates were told what, last."""
        return Counter(one.last for one in self.sent.values())

    @property
    def reasons(self) -> dict[str, int]:
        """How often calls ended how."""
        return dict(Counter(answer.reason for answer in self.answers))

    @property
    def slowest_s(self) -> float:
        """The longest that a call took."""
        return max((answer.took_s for answer in self.answers), default=0.0)

    def since(self, at: float) -> list[Answer]:
        """Return the answers that came at or after this moment (monotonic seconds)."""
        return [answer for answer in self.answers if answer.at >= at]

    def _open(self) -> list[_Update]:
        return [update for update in self._updates.values() if update.sent.last in (Told.UNKNOWN, Told.PENDING)]

    def _session(self, user_id: str) -> Player:
        sid, issuer = str(uuid4()), self._world.issuer
        return Player(
            user_id,
            sid,
            issuer.token(user_id, sid=sid, life_s=TOKEN_LIFE_S),
            issuer.keys.signing_key(issuer.keys.current, sid),
        )

    async def _client(self) -> Player:
        if not self._clients:
            client_id = f"server-{secrets.token_hex(6)}"
            await self._world.pool.execute(
                "INSERT INTO clients (client_id, secret_hash, role, updates_per_second) VALUES ($1, '-', 4, 1000000)",
                client_id,
            )
            token = self._world.issuer.token(client_id, role="game_server", scope="update:score", life_s=TOKEN_LIFE_S)
            self._clients.append(Player(client_id, "", token, b""))
        return self._clients[0]

    def _new(self, sender: Player, player: Player, reporter: str, action_id: str, nonce: str) -> _Update:
        request = pb.UpdateScoreRequest(user_id=player.user_id, action_id=action_id, nonce=nonce)
        update_id = update_id_of(player, nonce, reporter)
        sent = self.sent.setdefault(update_id, Sent(update_id, player.user_id, POINTS[action_id]))
        return self._updates.setdefault(update_id, _Update(sender, reporter, request, sent))

    async def _send(self, update: _Update) -> Told:
        request = update.request
        metadata = update.sender.signed(request.action_id, request.nonce)
        answer, reason = await self._call(self._world.scores.UpdateScore, request, metadata)
        told = _told(answer) if answer is not None else _told_by_error(reason)
        update.sent.told.append(told)
        return told

    async def _send_batch(self, client: Player, updates: Sequence[_Update]) -> None:
        request = pb.UpdateScoresRequest(updates=[update.request for update in updates])
        answer, _ = await self._call(self._world.scores.UpdateScores, request, client.bearer)
        if answer is None:
            for update in updates:
                update.sent.told.append(Told.UNKNOWN)
            return
        for update, result in zip(updates, answer.results, strict=True):
            update.sent.told.append(_told(result))

    async def _call(self, method: Any, request: Any, metadata: Any) -> tuple[Any, str]:
        started = time.monotonic()
        answer, reason = None, "OK"
        try:
            answer = await method(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as e:
            reason = to_error(e).reason or e.code().name
        now = time.monotonic()
        results = getattr(answer, "results", [answer] if answer is not None else [])
        applied = sum(result.status == pb.APPLIED for result in results)
        self.answers.append(Answer(now, now - started, reason, applied))
        return answer, reason


def _told(answer: pb.UpdateScoreResponse) -> Told:
    return _STATUS[answer.status] if answer.status in _STATUS else _told_by_error(answer.reason)


#: Reasons and codes that leave it open whether the update was queued.
_OPEN = frozenset(
    {"BROKER_AWAY", "SERVICE_AWAY", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"}
)


def _told_by_error(reason: str) -> Told:
    if reason in ROW_REASONS:
        return Told.REFUSED
    return Told.UNKNOWN if reason in _OPEN else Told.FAILED


async def _many(
    one: Callable[[], Coroutine[Any, Any, None]],
    count: int,
    at_once: int,
    rate_per_s: float | None,
    until: Callable[[], bool],
) -> None:
    """Run `one` that often, at most so many at once, not above the rate; ends early when `until` is true."""
    started, taken = time.monotonic(), 0
    turn = asyncio.Lock()  # who waits for his moment waits alone: the others would keep the end waiting

    async def sender() -> None:
        nonlocal taken
        while True:
            async with turn:
                if taken >= count or until():
                    return
                due_s = started + taken / rate_per_s - time.monotonic() if rate_per_s else 0.0
                taken += 1
                if due_s > 0:
                    await asyncio.sleep(due_s)
            await one()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(at_once, count)):
            tasks.create_task(sender())
