"""A player's explanation tells what real workers did, and finds what was changed behind their backs."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from board import explain, keys
from board.dead_letters import file_dead_letters
from board.entry import BoardKey
from board.explain import Explanation
from board.instant import to_us
from board.job_pb2 import Job
from board.ledger import Kind
from board.order import encode_user
from board.periods import BEGINNING
from board.player import find_players, read_player
from board.update_id import reversal_id
from tests.servers import Database, RedisServer, Vhost
from tests.workers import Bench, now_us

ROWS = 100


@pytest.fixture
async def bench(
    database: Database, redis_view: RedisServer, vhost: Vhost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(explain, "PAUSE_S", 0.1)
    async with Bench(database, redis_view, vhost, tmp_path).opened() as opened:
        yield opened


def reversal(update: Job) -> Job:
    key = reversal_id(UUID(bytes=update.update_id))
    return Job(
        update_id=key.bytes,
        kind=Kind.REVERSAL.word,
        user_id=update.user_id,
        reporter="u_operator",
        accepted_at_us=now_us(),
        reverses=update.update_id,
        text="a reason",
    )


def match(bench: Bench, user_id: str, value: int, at_us: int | None = None) -> Job:
    """Returns a result that a trusted server reports."""
    return bench.job(user_id, "match-result", at_us=at_us, value=value, reporter="arena")


async def explained(bench: Bench, user_id: str) -> Explanation:
    found = await explain.explain(bench.pool, bench.redis, user_id, rows=ROWS)
    assert found is not None
    return found


async def do(bench: Bench, *jobs: Job) -> None:
    for job in jobs:
        await bench.send(job)
        await bench.answers([job])


async def test_a_score_is_explained_from_the_ledger_to_redis(bench: Bench) -> None:
    anna, ben = await bench.add_players(2)
    win, high, low = bench.job(anna), match(bench, anna, 321), match(bench, anna, 123)
    spin, again, bonus = bench.job(anna, "spin"), bench.job(anna, "spin"), bench.job(anna, "daily-bonus")
    lost, bens = bench.job(anna), bench.job(ben)
    async with bench.workers():
        await do(bench, win, high, low, spin, again, bonus, match(bench, ben, 400), reversal(high))
        letters = [(UUID(bytes=job.update_id), job.SerializeToString(), "FAILED_X", 4) for job in (lost, bens)]
        await file_dead_letters(bench.pool, letters)
        found = await explained(bench, anna)

    assert (found.agrees, found.player.user_id, found.player.state, found.player.role) == (
        True,
        anna,
        "active",
        "player",
    )
    places = {one.board: (one.ledger, one.postgres, one.redis) for one in found.standings}
    assert {board: (points, entry and (entry.score, entry.rank)) for board, (points, entry, _) in places.items()} == {
        "all": (278, (278, 2)),
        "daily": (278, (278, 2)),
        "weekly": (278, (278, 2)),
        "top-match": (123, (123, 2)),
        "last-match": (123, (123, 2)),
    }
    assert all(entry == shown for _, entry, shown in places.values())

    lines = {line.update_id.bytes: line for line in found.ledger}
    boards = {key: {name.split()[0] for name in line.counted_on} for key, line in lines.items()}
    assert boards[win.update_id] == {"all", "daily", "weekly"}
    assert boards[high.update_id] == boards[reversal(high).update_id] == set(places)
    refused = lines[again.update_id]
    assert (refused.outcome, refused.reason, refused.points, refused.counted_on) == ("refused", "COOLDOWN", 0, ())
    assert [line.kind for line in found.ledger if line.is_taken_back or line.reverses] == ["reversal", "update"]
    assert lines[high.update_id].is_taken_back

    limits = {one.action_id: one for one in found.limits}
    assert set(limits) == {"coin", "daily-bonus", "spin"}
    assert (limits["coin"].used, limits["coin"].last_at, limits["coin"].next_at) == (0, None, None)
    assert (limits["daily-bonus"].used, limits["daily-bonus"].cap_count) == (1, 1)
    midnight = lines[bonus.update_id].accepted_at.replace(hour=0, minute=0, second=0, microsecond=0)
    assert limits["daily-bonus"].next_at == midnight + timedelta(days=1)
    assert limits["spin"].next_at == lines[spin.update_id].accepted_at + timedelta(hours=1)

    assert [(one.update_id.bytes, one.action_id, one.reason) for one in found.dead_letters] == [
        (lost.update_id, "win-round", "FAILED_X")
    ]


async def test_whatever_workers_did_ledger_entries_and_view_tell_the_same(bench: Bench) -> None:
    chance = random.Random(4)
    players = await bench.add_players(3)
    instants = [now_us(), to_us(datetime.now(UTC) - timedelta(days=1))]  # a day that takes no more is among them
    jobs = [
        match(bench, chance.choice(players), chance.randrange(10, 14), chance.choice(instants))
        if chance.random() < 0.6
        else bench.job(chance.choice(players), "lose-round", at_us=chance.choice(instants))
        for _ in range(80)
    ]
    async with bench.workers(2):
        await bench.send(*jobs)
        await bench.answers(jobs)
        undone = [reversal(job) for job in chance.sample(jobs, 30)]
        await bench.send(*undone)
        await bench.answers(undone)
        await bench.verified()
        for player in players:
            assert (await explained(bench, player)).agrees
            copied = await explain.copy(bench.pool, bench.redis, player)
            assert copied is not None
            assert [one.differences for one in copied.standings if one.differences] == []
            assert len(copied.ledger) == sum(job.user_id == player for job in [*jobs, *undone])
            assert sum(line.points for line in copied.ledger) == copied.player.score


async def test_what_was_changed_past_the_workers_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (anna,) = await bench.add_players(1)
    async with bench.workers():
        await do(bench, bench.job(anna))
        assert (await explained(bench, anna)).agrees
    # No worker runs now that would heal the view, so there is nothing to wait for.
    monkeypatch.setattr(explain, "ATTEMPTS", 1)
    row = await bench.pool.fetchrow(
        "SELECT board_id, user_ref FROM board_entries JOIN boards USING (board_id) WHERE name = 'all'"
    )
    assert row is not None
    board, user = BoardKey(row["board_id"], BEGINNING), encode_user(row["user_ref"])

    async def differences() -> tuple[str, ...]:
        return next(one.differences for one in (await explained(bench, anna)).standings if one.board == "all")

    known = await bench.redis.hget(keys.versions(board), user)
    await bench.redis.hdel(keys.versions(board), user)
    assert await differences() == ("entry and view",)
    await bench.redis.hset(keys.versions(board), user, known)
    assert await differences() == ()
    await bench.pool.execute("UPDATE users SET score = 51")
    assert await differences() == ("entry and users.score",)
    await bench.pool.execute("UPDATE board_entries SET score = 51")
    assert await differences() == ("ledger and entry", "entry and view")
    await bench.redis.hdel(keys.meta(board), "state")
    found = next(one for one in (await explained(bench, anna)).standings if one.board == "all")
    assert (found.in_view, found.redis, found.differences) == (False, None, ("ledger and entry",))


async def test_a_player_is_found_by_id_by_name_and_by_what_is_shown(bench: Bench) -> None:
    await bench.pool.executemany(
        "INSERT INTO users (user_id, username, username_key) VALUES ($1, $2, $3)",
        [
            ("u_1", "Anna", "anna"),
            ("u_2", "Anna", None),
            ("u_3", "u_1", "u_1"),
            ("u_4", "Ben", None),
            ("u_5", "Ben", None),
        ],
    )
    async with bench.pool.acquire() as conn:

        async def found(text: str, *, shown: bool = True) -> list[str]:
            return [one.user_id for one in await find_players(conn, text, shown=shown)]

        assert await found("u_1") == ["u_1", "u_3"]
        assert await found("ANNA") == ["u_1"]
        assert await found("Anna") == ["u_1", "u_2"]
        assert await found("Anna", shown=False) == ["u_1"]
        assert await found("Ben") == ["u_4", "u_5"]
        assert await found("Ben", shown=False) == []
        assert await found("ben") == []
        assert await found(str(uuid4())) == []
        assert [(await read_player(conn, one)) is not None for one in ("u_1", "Anna")] == [True, False]
    assert await explain.explain(bench.pool, bench.redis, "nobody", rows=ROWS) is None
    assert await explain.copy(bench.pool, bench.redis, "nobody") is None
