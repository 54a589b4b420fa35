"""Many players on the boards of a running mesh, each by real updates, so that the ledger stays true."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

import asyncpg
import httpx

from scoreboard.local import state
from scoreboard.local.postgres import SUPERUSER
from tests.e2e.players import fresh_nonce
from tests.meshes import Mesh, scoreboard

BATCH = 500  # updates of one call


async def add_players(mesh: Mesh, names: Sequence[str]) -> list[str]:
    """Adds players by SQL, for signing up costs a second's work for each dozen; returns their ids."""
    ids = [f"u_{secrets.token_hex(12)}" for _ in names]
    connection = await asyncpg.connect(state.postgres_url(mesh.data, SUPERUSER))
    try:
        await connection.executemany(
            "INSERT INTO users (user_id, username) VALUES ($1, $2)", list(zip(ids, names, strict=True))
        )
    finally:
        await connection.close()
    return ids


async def report(mesh: Mesh, updates: Sequence[tuple[str, str, int | None]]) -> None:
    """Reports (user id, action, value) of many players as a game server does, in this order."""
    done = await scoreboard(
        *("clients", "create", f"s-{secrets.token_hex(6)}", "--rate", "100000", "--json", "--data", str(mesh.data))
    )
    assert done.code == 0, done.err
    made = json.loads(done.out)
    async with httpx.AsyncClient(base_url=mesh.url, timeout=30) as http:
        login = (made["client_id"], made["client_secret"])
        answer = await http.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=login)
        assert answer.status_code == 200, answer.text
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        for first in range(0, len(updates), BATCH):
            batch = [_update(*update) for update in updates[first : first + BATCH]]
            told = {"PENDING"}
            while "PENDING" in told:  # after 2 s, on a busy machine; asked again with its nonces it counts once
                answer = await http.post("/api/scores/updates", json={"updates": batch}, headers=bearer)
                assert answer.status_code == 200, answer.text
                told = {result["status"] for result in answer.json()["results"]}
                assert told <= {"APPLIED", "PENDING"}


def _update(user_id: str, action: str, value: int | None) -> dict[str, Any]:
    fields = {"userId": user_id, "actionId": action, "nonce": fresh_nonce()}
    return fields if value is None else {**fields, "value": value}


async def crowd(mesh: Mesh, players: int = 1000) -> list[str]:
    """Adds `Player 0001` and so on with 10 points down to 1, in ten ties; returns their ids, best first."""
    ids = await add_players(mesh, [f"Player {n + 1:04}" for n in range(players)])
    tenth = players // 10
    await report(mesh, [(user, "collect-coin", None) for n in range(10) for user in ids[: players - n * tenth]])
    return ids
