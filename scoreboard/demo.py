"""The demo: players who sign up and play through the gateway like real clients, at the pace that its limits allow.

Counts ok, refused (a limit or a rule of the game said no), failed (an answer that should not be) and unknown (no
answer, though the same nonce was repeated). A 429 is waited out and counted as refused; then the action is sent again.
"""

import asyncio
import contextlib
import json
import math
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import json_format

from scoreboard.client import Client, ScoreboardError, Session, Status

#: What players do, by how often: catalogue names and weights.
ACTIONS = {"win-round": 3, "collect-coin": 6, "daily-bonus": 1}
PAUSE_S = (0.5, 3.0)  # between two actions of one player
SIGN_UPS_AT_ONCE = 4  # hashing a password costs the server some 30 ms of CPU
NAMES = (
    "Ada",
    "Bo",
    "Cleo",
    "Dara",
    "Eli",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "Juno",
    "Kai",
    "Lena",
    "Max",
    "Noor",
    "Otis",
    "Pia",
)

#: What a player who keeps to the rules may be told; any other refusal is a fault of the mesh or of the demo.
REFUSALS = frozenset({"RATE_LIMITED", "COOLDOWN", "CAP_REACHED", "QUEUE_FULL", "BANNED"})

_UNKNOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass
class Tally:
    """What the players met so far."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Returns ok, refused, failed, unknown and the p50 and p99 of answered updates in milliseconds."""
        counts = {name: self.counts[name] for name in ("ok", "refused", "failed", "unknown")}
        ordered = sorted(self.latencies_ms)
        return {**counts, "p50_ms": percentile(ordered, 0.50), "p99_ms": percentile(ordered, 0.99)}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of them does not exceed, to a tenth; 0 of none."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1) if ordered else 0.0


class Roster:
    """The demo's players, kept in a file (mode 0600) so that the next run plays on with them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.players: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []

    def add(self, username: str, password: str) -> dict[str, str]:
        """Keeps a player from now on."""
        player = {"username": username, "password": password}
        self.players.append(player)
        self.save()
        return player

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        part = self._path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.players, file)
        part.replace(self._path)


async def sign_in(
    client: Client, roster: Roster, player: dict[str, str] | None, tally: Tally, on_wait: Callable[[float], None]
) -> dict[str, str]:
    """Signs a kept player in, by session or password, or without one a new player up; returns the player.

    Waits a rate limit out, and tells `on_wait` for how many seconds. Raises ScoreboardError.
    """
    while True:
        try:
            if player is None:
                username = f"{random.choice(NAMES)}-{secrets.token_hex(3)}"  # noqa: S311 -- a name, not a secret
                password = secrets.token_urlsafe(16)
                await client.register(username, password)
                return roster.add(username, password)
            await _resume(client, player)
        except ScoreboardError as e:
            if e.retry_after_s is None:
                raise
            tally.counts["refused"] += 1
            tally.reasons[e.reason] += 1
            on_wait(e.retry_after_s)
            await asyncio.sleep(e.retry_after_s)
        else:
            return player


def keep_session(client: Client, player: dict[str, str]) -> None:
    """Keeps the client's session with the player, for the next run."""
    player["session"] = json_format.MessageToJson(client.session, indent=None)


async def _resume(client: Client, player: dict[str, str]) -> None:
    if kept := player.pop("session", None):
        client.resume(json_format.Parse(kept, Session()))
        try:
            await client.refresh()
            return
        except ScoreboardError:
            pass  # over or revoked: the password starts another
    await client.login(player["username"], player["password"])


async def play(client: Client, tally: Tally, over: asyncio.Event) -> None:
    """Plays until the game is over: an action, its outcome, a pause."""
    while not over.is_set():
        action = random.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]  # noqa: S311
        await _one_update(client, action, tally, over)
        await _pause(over, random.uniform(*PAUSE_S))  # noqa: S311


async def _one_update(client: Client, action: str, tally: Tally, over: asyncio.Event) -> None:
    nonce = ""
    while not over.is_set():
        started = time.monotonic()
        try:
            update = await client.score(action, nonce=nonce)
        except ScoreboardError as e:
            tally.counts[_classify(e)] += 1
            tally.reasons[e.reason or e.code.name] += 1
            if e.reason != "RATE_LIMITED":
                return
            nonce = e.nonce  # of a try without an answer; else the action was not recorded, and may yet count
            await _pause(over, e.retry_after_s or 1.0)
        else:
            tally.counts["ok" if update.status is Status.APPLIED else "unknown"] += 1  # PENDING to the deadline
            tally.latencies_ms.append((time.monotonic() - started) * 1000)
            return


def _classify(error: ScoreboardError) -> str:
    if error.reason in REFUSALS:
        return "refused"
    return "unknown" if error.code in _UNKNOWN else "failed"


async def _pause(over: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
