"""JWT keys and master keys that are replaced while players play, through the gateway."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest

from auth_svc import key_wrap
from scoreboard.v1 import auth_pb2
from tests.e2e.rotating import Deployment, Player, deployed, playing, signed_update
from tests.scoring import new_nonce, refused
from tests.servers import Database, RedisServer, Vhost
from tests.sizes import Record, sized
from tests.waiting import SCALE, eventually
from tests.workers import Bench

PLAYERS = 4


@pytest.fixture
async def deployment(
    database: Database, redis_view: RedisServer, vhost: Vhost, servers_folder: Path, tmp_path: Path
) -> AsyncIterator[Deployment]:
    folder = Path(tempfile.mkdtemp(dir=servers_folder))
    async with (
        Bench(database, redis_view, vhost, tmp_path).opened() as bench,
        bench.workers(1),
        deployed(bench, database, redis_view, vhost, folder) as made,
    ):
        yield made


def have_kid(players: list[Player], kid: str) -> bool:
    return {player.kid for player in players} == {kid}


def have_master_key(players: list[Player], number: int) -> bool:
    return {player.claims["skid"] for player in players} == {number}


async def rotate_jwt_key(deployment: Deployment, players: list[Player]) -> None:
    """Lets a month pass: the next key is made, published, and signs; the old one is published on, and retires."""
    pool = deployment.bench.pool
    old = await pool.fetchval("SELECT kid FROM jwt_keys ORDER BY sign_from DESC LIMIT 1")
    await pool.execute("UPDATE jwt_keys SET sign_from = sign_from - interval '30 days' WHERE kid = $1", old)

    async def successor() -> Any:
        return await pool.fetchrow("SELECT kid, private_key FROM jwt_keys WHERE kid <> $1", old)

    made = await eventually(successor, what="the next key")
    new = str(made["kid"])
    private_key = key_wrap.unwrap(deployment.master_keys(), new, made["private_key"])
    early = jwt.encode(players[0].claims, private_key, "ES256", {"kid": new, "typ": "at+jwt"})
    await eventually(partial(deployment.is_taken, early), what="the next key in the lists of all who verify")
    assert have_kid(players, old), "it does not sign yet"
    kept = players[0].session.access_token
    await pool.execute("UPDATE jwt_keys SET sign_from = now() WHERE kid = $1", new)
    await eventually(partial(have_kid, players, new), what="tokens of the next key")
    assert await deployment.is_taken(kept), "what the old key signed is good"
    # The table keeps it for as long as its last token may live; then it is over.
    assert await pool.fetchval("SELECT retire_at > now() + interval '10 minutes' FROM jwt_keys WHERE kid = $1", old)
    await pool.execute("UPDATE jwt_keys SET retire_at = now() WHERE kid = $1", old)

    async def is_refused() -> bool:
        await deployment.refresh_keys()
        return await deployment.is_refused(kept)

    await eventually(is_refused, what="the end of the old key")


async def rotate_master_key(deployment: Deployment, players: list[Player]) -> None:
    """Each service knows the next key before any uses it, and the old one for as long as it is needed."""
    pool, before = deployment.bench.pool, deployment.master_keys()
    old, new = before.current, before.current + 1
    both = before.keys | {new: os.urandom(32)}
    sealed = await players[0].issue()
    await deployment.roll_out(old, both)
    await deployment.roll_out(new, both)
    counts = [len(player.taken) + 2 for player in players]

    def have_played_on() -> bool:
        return all(len(player.taken) > count for player, count in zip(players, counts, strict=True))

    await eventually(have_played_on, what="updates of the old key's sessions")
    assert have_master_key(players, old)
    kept = players[0].session
    for player in players:
        player.wants_login = True
    await eventually(partial(have_master_key, players, new), what="sessions of the next key")

    async def are_wrapped_anew() -> bool:
        rows = await pool.fetch("SELECT private_key FROM jwt_keys")
        return {key_wrap.wrapped_with(row["private_key"]) for row in rows} == {new}

    await eventually(are_wrapped_anew, what="JWT keys under the next master key")
    await deployment.roll_out(new, {new: both[new]})
    scores, auth = deployment.scores, deployment.auth
    late = players[0].repeat(scores.UpdateScore, *signed_update(kept, new_nonce()))
    assert (await refused(late)).reason == "SESSION_REVOKED"
    late = players[0].repeat(scores.UpdateScore, *signed_update(players[0].session, sealed))
    assert (await refused(late)).reason == "NONCE_MISMATCH"
    refresh = players[0].repeat(auth.Refresh, auth_pb2.RefreshRequest(refresh_token=kept.refresh_token))
    assert (await refused(refresh)).reason == "SESSION_REVOKED"


@pytest.mark.promise(row=30)
@pytest.mark.timeout(sized(180, 600) * SCALE)
async def test_keys_rotate_and_no_valid_token_is_refused(deployment: Deployment, record_property: Record) -> None:
    players = [Player(deployment, f"player {number}") for number in range(PLAYERS)]
    for player in players:
        await player.register()
    rotations = sized(1, 5)
    async with playing(players):
        for _ in range(rotations):
            await rotate_jwt_key(deployment, players)
            await rotate_master_key(deployment, players)
    assert [player.refusals for player in players] == [[]] * PLAYERS
    taken = [update_id for player in players for update_id in player.taken]
    assert len(set(taken)) == len(taken)
    await deployment.bench.until_applied(len(taken))
    assert {str(row["id"]) for row in await deployment.bench.rows()} == set(taken)
    await deployment.bench.verified()
    record_property("updates", len(taken))
    record_property("faults", 2 * rotations + deployment.timeline.faults)
