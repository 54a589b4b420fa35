"""Fills a mesh with players by SQL: through the services a million would take an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import gcd

import asyncpg

from bench.mesh import Mesh
from scoreboard.local import state
from scoreboard.local.postgres import SUPERUSER

STEP = 7919  # a prime, so that scores are mixed, and each is there once
BOARDS = ("all",)

_PLAYERS = """
WITH added AS (
  INSERT INTO users (user_id, username, score)
  SELECT 'u_' || lpad(to_hex(n), 24, '0'), 'player-' || n, n * $2 % $1 + 1
  FROM generate_series(1::bigint, $1::bigint) AS n
  RETURNING id, score
)
INSERT INTO board_entries (board_id, period_start, user_ref, score, reached_at)
SELECT p.board_id, p.period_start, a.id, a.score, greatest(p.period_start, now() - interval '1 hour')
FROM added a, board_periods p JOIN boards b USING (board_id)
WHERE b.name = ANY($3::text[]) AND p.period_start <= now() AND now() < p.period_end
"""


async def fill(mesh: Mesh, players: int, boards: Sequence[str] = BOARDS) -> None:
    """Adds players with an entry on each of these boards (`all` among them, in a mesh that had no fill before).

    Returns when Redis shows them. They have no sessions (a trusted client reaches them) and no ledger, so that
    `scoreboard verify` differs. Leaves no vacuum and no checkpoint for the measurement that follows.
    """
    assert "all" in boards, "a player's score is that of the board `all`"
    assert gcd(players, STEP) == 1, f"no two players would have one score: take no multiple of {STEP}"
    connection = await asyncpg.connect(state.postgres_url(mesh.data, SUPERUSER))
    try:
        # The foreign keys hold by how the rows are made; to check them would take longer than to write.
        await connection.execute("SET session_replication_role = replica")
        added = await connection.execute(_PLAYERS, players, STEP, boards)
        assert added == f"INSERT 0 {players * len(boards)}", f"{added}: a board of {boards} has no present period"
        await connection.execute("VACUUM (ANALYZE) users, board_entries")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    for board in boards:
        await asyncio.to_thread(mesh.scoreboard, "rebuild", board, "--reason", "bench")


def user_id(number: int) -> str:
    """Returns the id of a player, who are numbered from 1."""
    return f"u_{number:024x}"


def rank(user_id: str, players: int) -> int:
    """Returns the rank of one of so many players in a mesh that has no others."""
    return players - int(user_id.removeprefix("u_"), 16) * STEP % players
