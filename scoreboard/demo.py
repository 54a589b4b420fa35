"""The demo: players who sign up and play through the gateway like real clients, at the pace that its limits allow.

Counts ok, refused (an answer that says no), failed (an answer that should not be) and unknown (no answer, though the
same nonce was repeated). A 429 is waited out, with the same nonce, and counted as refused.
"""

import asyncio
import json
import os
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import json_format

from scoreboard.client import Client, ScoreboardError
from scoreboard.v1 import auth_pb2

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

_UNKNOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass
class Tally:
    """What the players met so far."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Returns ok, refused, failed, unknown and the p50 and p99 of answered updates in milliseconds."""
        ordered = sorted(self.latencies_ms) or [0.0]

        def percentile(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

        counts = {name: self.counts[name] for name in ("ok", "refused", "failed", "unknown")}
        return {**counts, "p50_ms": percentile(0.50), "p99_ms": percentile(0.99)}


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


async def sign_in(client: Client, roster: Roster, player: dict[str, str] | None, tally: Tally) -> None:
    """Signs a kept player in, by session or password, or without one a new player up."""
    while True:
        try:
            if player is None:
                username = f"{random.choice(NAMES)}-{secrets.token_hex(3)}"  # noqa: S311 -- a name, not a secret
                password = secrets.token_urlsafe(16)
                session = await client.register(username, password)
                player = roster.add(username, password)
            else:
                session = await _resume(client, player)
        except ScoreboardError as e:
            if e.retry_after_s is None:
                raise
            tally.counts["refused"] += 1
            tally.reasons[e.reason] += 1
            await asyncio.sleep(e.retry_after_s)
        else:
            player["session"] = json_format.MessageToJson(session, indent=None)
            return


async def _resume(client: Client, player: dict[str, str]) -> auth_pb2.Session:
    if kept := player.get("session"):
        client.resume(json_format.Parse(kept, auth_pb2.Session()))
        try:
            return await client.refresh()
        except ScoreboardError:
            player.pop("session")  # over or revoked: the password starts another
    return await client.login(player["username"], player["password"])


async def play(client: Client, tally: Tally, until: float) -> None:
    """Plays until time.monotonic() reaches `until`: an action, its outcome, a pause."""
    while time.monotonic() < until:
        action = random.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]  # noqa: S311
        await _one_update(client, action, tally, until)
        await asyncio.sleep(min(random.uniform(*PAUSE_S), max(0.0, until - time.monotonic())))  # noqa: S311


async def _one_update(client: Client, action: str, tally: Tally, until: float) -> None:
    nonce = client.nonce()
    while True:
        started, wait_s = time.monotonic(), None
        try:
            await client.update(action, nonce=nonce)
        except ScoreboardError as e:
            outcome = _classify(e)
            tally.reasons[e.reason or e.code.name] += 1
            if e.reason == "RATE_LIMITED":  # the action was not recorded: it may yet count
                wait_s = e.retry_after_s
        else:
            outcome = "ok"
            tally.latencies_ms.append((time.monotonic() - started) * 1000)
        tally.counts[outcome] += 1
        if wait_s is None or time.monotonic() + wait_s > until:
            return
        await asyncio.sleep(wait_s)


def _classify(error: ScoreboardError) -> str:
    if error.code in _UNKNOWN:
        return "unknown"
    refusals = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.PERMISSION_DENIED)
    return "refused" if error.code in refusals else "failed"
